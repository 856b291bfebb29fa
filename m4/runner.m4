# RUNNER_SANITIZERS: --enable-sanitizers builds everything with ASan and UBSan.
AC_DEFUN([RUNNER_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers], [build with address and undefined behaviour sanitizers])],
    [], [enable_sanitizers=no])
  SANITIZER_FLAGS=
  AS_IF([test "$enable_sanitizers" = yes],
    [SANITIZER_FLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g"])
  AC_SUBST([SANITIZER_FLAGS])
  AM_CONDITIONAL([SANITIZERS], [test "$enable_sanitizers" = yes])
])

# RUNNER_WARNINGS: warnings always; --enable-developer turns them into errors (default in a git checkout).
AC_DEFUN([RUNNER_WARNINGS], [
  AS_IF([test -e "$srcdir/.git"], [developer_default=yes], [developer_default=no])
  AC_ARG_ENABLE([developer], [AS_HELP_STRING([--enable-developer], [warnings are errors [in a git checkout]])],
    [], [enable_developer=$developer_default])
  WARNING_FLAGS="-Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wformat=2 -Wvla"
  AS_IF([test "$enable_developer" = yes], [WARNING_FLAGS="$WARNING_FLAGS -Werror"])
  AC_SUBST([WARNING_FLAGS])
])

# RUNNER_FUZZ: --enable-fuzz (needs CC=clang) builds t/fuzz with libFuzzer; otherwise each target runs over its corpus.
AC_DEFUN([RUNNER_FUZZ], [
  AC_ARG_ENABLE([fuzz], [AS_HELP_STRING([--enable-fuzz], [build t/fuzz with libFuzzer (CC=clang)])],
    [], [enable_fuzz=no])
  AS_IF([test "$enable_fuzz" = yes],
    [SANITIZER_FLAGS="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -g -O1"])
  AM_CONDITIONAL([FUZZ], [test "$enable_fuzz" = yes])
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
  unit tests  $have_criterion (Criterion)"])
  AS_IF([test -n "$runner_left_out"], [AS_ECHO(["left out:$runner_left_out"])], [AS_ECHO(["left out: nothing"])])
])
