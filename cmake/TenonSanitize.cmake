# TENON_SANITIZE=address|undefined|thread: instruments every target of this directory and below. To be included before
# the first target, since it sets directory options: objects that are not instrumented hide what they do.
set(TENON_SANITIZE "" CACHE STRING "Sanitizer to build with: address, undefined, thread, or empty for none")
set_property(CACHE TENON_SANITIZE PROPERTY STRINGS "" address undefined thread)

if(TENON_SANITIZE)
  if(NOT TENON_SANITIZE MATCHES "^(address|undefined|thread)$")
    message(FATAL_ERROR "[TENON_SANITIZE] expected address, undefined or thread, found '${TENON_SANITIZE}'")
  endif()
  if(TENON_SANITIZE STREQUAL "thread" AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "[TENON_SANITIZE] thread expects clang with libomp, found ${CMAKE_CXX_COMPILER_ID}: "
                        "GCC's OpenMP runtime synchronises in ways that the sanitizer cannot see")
  endif()
  # The first finding ends the program, so that a test cannot pass over it.
  set(tenon_sanitize_flags -fsanitize=${TENON_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_compile_options(${tenon_sanitize_flags})
  add_link_options(${tenon_sanitize_flags})
endif()
