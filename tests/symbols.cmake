# Fails on any weak symbol in objects that are compiled once per instruction set: the linker keeps one copy of a weak
# symbol, perhaps the one whose instructions the machine lacks. Eigen is allowed in a namespace renamed per level.
#   cmake [-DNM=nm] -P symbols.cmake -- OBJECT_OR_ARCHIVE...
cmake_minimum_required(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/support/script_arguments.cmake)
script_arguments(files)
if(NOT NM)
  set(NM nm)
endif()

set(failures "")
set(symbols_seen 0)
foreach(file IN LISTS files)
  execute_process(
    COMMAND ${NM} -C --defined-only ${file}
    OUTPUT_VARIABLE output
    ERROR_VARIABLE error
    RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "[symbols] ${NM} failed on ${file}: ${error}")
  endif()
  # Demangled names hold characters that mean something in CMake's lists.
  string(REPLACE ";" "," output "${output}")
  string(REPLACE "[" "(" output "${output}")
  string(REPLACE "]" ")" output "${output}")
  string(REGEX MATCHALL "[0-9a-f]+ [A-Za-z] [^\n]+" lines "${output}")
  list(LENGTH lines count)
  math(EXPR symbols_seen "${symbols_seen} + ${count}")
  list(FILTER lines INCLUDE REGEX "^[0-9a-f]+ [WVu] ")
  list(FILTER lines EXCLUDE REGEX "tenon_eigen_|DW\\.ref\\.")
  foreach(line IN LISTS lines)
    get_filename_component(name ${file} NAME)
    string(REGEX REPLACE "^[0-9a-f]+ " "" line "${line}")
    list(APPEND failures "${name}: ${line}")
  endforeach()
endforeach()

if(symbols_seen EQUAL 0)
  message(FATAL_ERROR "[symbols] expected objects with symbols, found none in: ${files}")
endif()
if(failures)
  list(LENGTH failures count)
  list(JOIN failures "\n  " text)
  message(FATAL_ERROR "[symbols] expected no weak symbols, found ${count}:\n  ${text}")
endif()
list(LENGTH files count)
message(STATUS "${count} files, ${symbols_seen} symbols, none of them weak")
