/* Where it was: for tests that were begun before it moved. */
#include "kit/fake/host.h"
