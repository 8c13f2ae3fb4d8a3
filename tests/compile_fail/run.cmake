# An operation that lacks a rule must not compile, and the compiler must name the operation and the rule; one that has
# all of them must compile, so that the failures are due to what is missing.
#   cmake -DSOURCE_DIR=<checkout> -DCXX=<compiler> [-DFLAGS=<compile flags>] -P run.cmake
cmake_minimum_required(VERSION 3.25)
foreach(variable SOURCE_DIR CXX)
  if(NOT ${variable})
    message(FATAL_ERROR "[compile_fail] expected -D${variable}=...")
  endif()
endforeach()
set(ENV{LC_ALL} C)  # the messages below are English ones
separate_arguments(flags UNIX_COMMAND "${FLAGS}")
set(command ${CXX} -std=c++20 ${flags} -fsyntax-only -I${SOURCE_DIR} -I${SOURCE_DIR}/include)
set(folder ${SOURCE_DIR}/tests/compile_fail)

execute_process(COMMAND ${command} ${folder}/complete.cpp RESULT_VARIABLE result ERROR_VARIABLE text)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "[compile_fail] expected complete.cpp to compile, found:\n${text}")
endif()
message(STATUS "complete: compiles")

foreach(rule infer vjp cost)
  execute_process(COMMAND ${command} ${folder}/without_${rule}.cpp RESULT_VARIABLE result ERROR_VARIABLE text)
  if(result EQUAL 0)
    message(FATAL_ERROR "[compile_fail] expected an operation without ${rule} to be rejected, found that it compiles")
  endif()
  string(REGEX MATCH "error: [^\n]*" error "${text}")
  if(NOT error MATCHES "no_overload_for<[^\n]*Lonely,[^\n]*${rule}_rule")
    message(FATAL_ERROR "[compile_fail] expected a first error that names Lonely and ${rule}, found:\n${text}")
  endif()
  message(STATUS "without ${rule}: ${error}")
endforeach()
