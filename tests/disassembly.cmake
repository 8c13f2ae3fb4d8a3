# Fails unless the objects of one instruction set hold what they were compiled for: fused multiply-adds on vectors of
# the level's full width in every family of kernels, and packed arithmetic of that width in the families of VECTOR_ONLY,
# which have nothing to multiply.
#   cmake -DISA=avx2|avx512 [-DOBJDUMP=objdump] [-DFAMILIES=gemm;conv2d] [-DVECTOR_ONLY=pool] -P disassembly.cmake -- OBJECT...
# A family is every object whose name starts with it: conv2d is conv2d_direct.cpp.o, conv2d_gradient.cpp.o, ...
cmake_minimum_required(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/support/script_arguments.cmake)
script_arguments(objects)
if(NOT OBJDUMP)
  set(OBJDUMP objdump)
endif()
if(NOT FAMILIES)
  set(FAMILIES gemm conv2d rows update)
endif()
if(NOT DEFINED VECTOR_ONLY)
  set(VECTOR_ONLY pool)
endif()
if(ISA STREQUAL "avx512")
  set(register zmm)
elseif(ISA STREQUAL "avx2")
  set(register ymm)
else()
  message(FATAL_ERROR "[disassembly] expected -DISA=avx2 or avx512, found '${ISA}'")
endif()
set(fma "vfn?m(add|sub)[0-9]+p[sd] .*%${register}")
set(packed "v(add|sub|mul|div|max|min|cmp[a-z_]*|fmadd[0-9]+)p[sd] .*%${register}")

# Lines of the objects' disassembly that match.
function(count_instructions objects pattern variable)
  execute_process(
    COMMAND ${OBJDUMP} -d --no-show-raw-insn ${objects}
    COMMAND grep -c -E ${pattern}
    OUTPUT_VARIABLE count
    RESULTS_VARIABLE results
    OUTPUT_STRIP_TRAILING_WHITESPACE)
  list(GET results 0 result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "[disassembly] ${OBJDUMP} failed on ${objects}")
  endif()
  set(${variable} ${count} PARENT_SCOPE)
endfunction()

set(failures "")
foreach(family IN LISTS FAMILIES VECTOR_ONLY)
  set(members "")
  foreach(object IN LISTS objects)
    get_filename_component(name ${object} NAME)
    if(name MATCHES "^${family}")
      list(APPEND members ${object})
    endif()
  endforeach()
  if(NOT members)
    list(APPEND failures "${family}: no object of that name")
    continue()
  endif()
  count_instructions("${members}" ${fma} fmas)
  count_instructions("${members}" ${packed} packeds)
  message(STATUS "${ISA} ${family}: ${fmas} FMAs and ${packeds} packed operations on ${register}")
  if(fmas EQUAL 0 AND NOT family IN_LIST VECTOR_ONLY)
    list(APPEND failures "${family}: no FMA on ${register} registers")
  elseif(packeds EQUAL 0)
    list(APPEND failures "${family}: no packed arithmetic on ${register} registers")
  endif()
endforeach()
if(failures)
  list(JOIN failures "\n  " text)
  message(FATAL_ERROR "[disassembly] ${ISA} objects lack what they were compiled for:\n  ${text}")
endif()
