"""A Daytona API as runners see it, for tests: see daytona-api beside this folder."""
