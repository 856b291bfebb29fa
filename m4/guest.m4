# RUNNER_GUEST: the guest daemon is one static program, so it needs the archives of libc, libevent_core and yajl. With
# sanitizers it is linked as usual, which static programs cannot be.
AC_DEFUN([RUNNER_GUEST], [
  PKG_CHECK_MODULES([GUEST], [libevent_core], [runner_have_guest=yes], [runner_have_guest=no])
  GUEST_STATIC_LIBS="-levent_core -lyajl_s"
  AS_IF([test "$runner_have_guest" = yes && test "$enable_sanitizers" = no], [
    runner_saved_LIBS=$LIBS
    LIBS="-static $GUEST_STATIC_LIBS"
    AC_MSG_CHECKING([whether the guest daemon links statically])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[void *event_base_new(void); void *yajl_alloc(const void *, const void *, void *);]],
      [[return event_base_new() == yajl_alloc(0, 0, 0);]])], [], [runner_have_guest=no])
    AC_MSG_RESULT([$runner_have_guest])
    LIBS=$runner_saved_LIBS
  ])
  # libevent_core can resolve names, of which the linker warns; the daemon does not ask it to.
  GUEST_LDFLAGS=
  RUNNER_TRY_FLAG([LDFLAGS], [-Wl,--no-warnings], [GUEST_LDFLAGS])
  AC_SUBST([GUEST_LDFLAGS])
  AS_IF([test "$runner_have_guest" = no], [runner_left_out="$runner_left_out
  guest daemon (needs the static archives of libc, libevent_core and yajl)"])
  AC_SUBST([GUEST_STATIC_LIBS])
  AM_CONDITIONAL([HAVE_GUEST], [test "$runner_have_guest" = yes])
])
