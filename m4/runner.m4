# RUNNER_SANITIZERS: --enable-sanitizers builds everything with ASan and UBSan; --enable-sanitizers=thread with TSan, under
# which Criterion does not start: t/unit/test-pool and the component tests do.
AC_DEFUN([RUNNER_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers@<:@=thread@:>@], [build with the address and undefined behaviour sanitizers, or with that for threads])],
    [], [enable_sanitizers=no])
  SANITIZER_FLAGS=
  AS_CASE([$enable_sanitizers],
    [no], [],
    [yes], [SANITIZER_FLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"],
    [thread], [SANITIZER_FLAGS="-fsanitize=thread -fno-omit-frame-pointer"],
    [AC_MSG_ERROR([--enable-sanitizers takes no value or "thread"])])
  dnl Other than autoconf chooses: optimizing instrumented code takes twice the time, and reports need no more than lines.
  dnl Of lengths less is known then, and gcc warns of what cannot be; clang does not know that warning.
  AS_IF([test "$enable_sanitizers" != no && test "$CFLAGS" = "-g -O2"], [CFLAGS="-g1 -O1 -Wno-unknown-warning-option -Wno-format-truncation"])
  AC_SUBST([SANITIZER_FLAGS])
  AM_CONDITIONAL([SANITIZERS], [test "$enable_sanitizers" != no])
])

# RUNNER_WARNINGS: warnings always; --enable-developer turns them into errors (default in a git checkout).
AC_DEFUN([RUNNER_WARNINGS], [
  AS_IF([test -e "$srcdir/.git"], [developer_default=yes], [developer_default=no])
  AC_ARG_ENABLE([developer], [AS_HELP_STRING([--enable-developer], [warnings are errors [in a git checkout]])],
    [], [enable_developer=$developer_default])
  WARNING_FLAGS="-Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wformat=2 -Wvla"
  # gcc hears no "(void)" before a call whose result is ignored on purpose; clang, which does, still warns.
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#ifdef __clang__
#error
#endif]])], [WARNING_FLAGS="$WARNING_FLAGS -Wno-unused-result"])
  AS_IF([test "$enable_developer" = yes], [WARNING_FLAGS="$WARNING_FLAGS -Werror"])
  AC_SUBST([WARNING_FLAGS])
])

# RUNNER_FUZZ: --enable-fuzz (needs CC=clang) builds t/fuzz with libFuzzer; otherwise each target runs over its corpus.
# clang leaves the sanitizers' functions to the program: a plugin may lack them then, and no other.
AC_DEFUN([RUNNER_FUZZ], [
  AC_ARG_ENABLE([fuzz], [AS_HELP_STRING([--enable-fuzz], [build t/fuzz with libFuzzer (CC=clang)])],
    [], [enable_fuzz=no])
  PLUGIN_DEFS=-Wl,-z,defs
  AS_IF([test "$enable_fuzz" = yes],
    [SANITIZER_FLAGS="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -g -O1"
    PLUGIN_DEFS=])
  AC_SUBST([PLUGIN_DEFS])
  AM_CONDITIONAL([FUZZ], [test "$enable_fuzz" = yes])
])

# RUNNER_HARDENING: checks of bounds and of the stack, read-only relocations: where the compiler has them and no sanitizer
# does it better. CFLAGS and LDFLAGS come after these and so have the last word.
AC_DEFUN([RUNNER_HARDENING], [
  AC_ARG_ENABLE([hardening], [AS_HELP_STRING([--disable-hardening], [build without run-time protections])],
    [], [enable_hardening=yes])
  AS_IF([test -n "$SANITIZER_FLAGS"], [enable_hardening=no])
  HARDENING_CPPFLAGS= HARDENING_CFLAGS= HARDENING_LDFLAGS=
  AS_IF([test "$enable_hardening" = yes], [
    RUNNER_TRY_FLAG([CFLAGS], [-fstack-protector-strong], [HARDENING_CFLAGS])
    RUNNER_TRY_FLAG([CFLAGS], [-fstack-clash-protection], [HARDENING_CFLAGS])
    RUNNER_TRY_FLAG([LDFLAGS], [-Wl,-z,relro], [HARDENING_LDFLAGS])
    RUNNER_TRY_FLAG([LDFLAGS], [-Wl,-z,now], [HARDENING_LDFLAGS])
    # Needs an optimizing build; a level in CPPFLAGS is left alone.
    RUNNER_TRY_FLAG([CPPFLAGS], [-D_FORTIFY_SOURCE=2], [HARDENING_CPPFLAGS])
  ])
  runner_hardening=`AS_ECHO(["$HARDENING_CFLAGS$HARDENING_CPPFLAGS$HARDENING_LDFLAGS"]) | sed 's/^ *//;s/^$/none/'`
  AC_SUBST([HARDENING_CPPFLAGS])
  AC_SUBST([HARDENING_CFLAGS])
  AC_SUBST([HARDENING_LDFLAGS])
])

# RUNNER_TRY_FLAG(VARIABLE, FLAG, TO): appends FLAG, which belongs in VARIABLE (CFLAGS ...), to TO when a program is built
# with it without a warning.
AC_DEFUN([RUNNER_TRY_FLAG], [
  AC_MSG_CHECKING([whether $CC takes $2])
  runner_saved_$1=$$1 runner_saved_werror=$CFLAGS
  $1="$2 $$1"
  CFLAGS="$CFLAGS -Werror"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <string.h>]], [[char text[8]; memset(text, 0, sizeof text); return text[0];]])],
    [runner_takes=yes; $3="$$3 $2"], [runner_takes=no])
  CFLAGS=$runner_saved_werror
  $1=$runner_saved_$1
  AC_MSG_RESULT([$runner_takes])
])

# RUNNER_CORE_DIRECTORY: autoconf removes a memory dump, "core", after each test. Here that is a folder: it need not try.
AC_DEFUN([RUNNER_CORE_DIRECTORY], [
rm ()
{
  if test "x$[]1" = x-f && test "x$[]2" = xcore && test -d core; then
    shift; shift
    set x -f "$[]@"; shift
  fi
  command rm "$[]@"
}
])

# RUNNER_PART(NAME, PKG-CONFIG MODULES, WHAT): an optional part; sets <NAME>_CFLAGS, _LIBS and conditional HAVE_<NAME>.
AC_DEFUN([RUNNER_PART], [
  PKG_CHECK_MODULES(m4_toupper([$1]), [$2],
    [runner_have_$1=yes], [runner_have_$1=no; runner_left_out="$runner_left_out
  $3 (needs $2)"])
  AM_CONDITIONAL([HAVE_]m4_toupper([$1]), [test "$runner_have_$1" = yes])
])

# RUNNER_SUMMARY: configure's last lines.
AC_DEFUN([RUNNER_SUMMARY], [
  AS_ECHO(["
runner-ch $PACKAGE_VERSION
  prefix      $prefix
  plugins in  $libdir/$PACKAGE_NAME/<kind>/
  sanitizers  $enable_sanitizers
  hardening   $runner_hardening"])
  AS_IF([test -n "$runner_left_out"], [AS_ECHO(["left out:$runner_left_out"])], [AS_ECHO(["left out: nothing"])])
])
