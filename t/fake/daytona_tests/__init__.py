"""Tests of the fake Daytona API (t/fake/daytona-test.py runs them)."""
