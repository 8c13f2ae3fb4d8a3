# TENON_LEVELS: the instruction sets of the processor that is compiled for, best first, as kernels/cpu/levels.hpp lists
# them; TENON_LEVEL_ARCHS: the -march of each.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  set(TENON_LEVELS avx512 avx2 baseline)
  set(TENON_LEVEL_ARCHS x86-64-v4 x86-64-v3 x86-64-v2)
  set(TENON_HAS_TILES ON)  # the level amx, of products of bf16 alone
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(TENON_LEVELS neon)
  set(TENON_LEVEL_ARCHS armv8-a)
else()
  message(FATAL_ERROR "[levels] expected an x86-64 or AArch64 processor, found '${CMAKE_SYSTEM_PROCESSOR}'")
endif()

# tenon_micro(NAME SOURCES... FLAGS flags...): files of kernels/cpu/micro compiled once more, in the namespace of one
# instruction set, into the object library tenon_micro_NAME, which exports nothing but its tables. Link-time optimisation
# stays off: it would merge what the flags separate.
function(tenon_micro name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "FLAGS")
  set(target tenon_micro_${name})
  cmake_path(GET CMAKE_CURRENT_FUNCTION_LIST_DIR PARENT_PATH root)
  list(TRANSFORM arg_UNPARSED_ARGUMENTS PREPEND ${root}/kernels/cpu/micro/)
  add_library(${target} OBJECT ${arg_UNPARSED_ARGUMENTS})
  target_include_directories(${target} PRIVATE ${root} ${root}/include)
  target_compile_definitions(${target} PRIVATE TENON_ISA=${name})
  target_compile_options(${target} PRIVATE ${arg_FLAGS} -ffp-contract=off -fvisibility=hidden -fno-lto
                                           $<$<CONFIG:Release,RelWithDebInfo>:-O3>)
  target_link_libraries(${target} PRIVATE tenon_warnings OpenMP::OpenMP_CXX)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

# tenon_add_level(NAME ARCH): a level with every loop, ours and Eigen's.
function(tenon_add_level name arch)
  set(flags -march=${arch})
  # GCC for AArch64 loads what it will need as early as it can, and then has no registers left for the accumulators.
  if(name STREQUAL "neon" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND flags -fno-schedule-insns)
  endif()
  tenon_micro(
    ${name}
    bias.cpp
    conv2d_depthwise.cpp
    conv2d_direct.cpp
    conv2d_grad_filter.cpp
    conv2d_grad_filter_dense.cpp
    conv2d_grad_filter_depthwise.cpp
    conv2d_grad_filter_one_channel.cpp
    conv2d_grad_input.cpp
    conv2d_grad_input_dense.cpp
    conv2d_grad_input_depthwise.cpp
    conv2d_one_channel.cpp
    conv2d_winograd.cpp
    dropout.cpp
    elementwise_loss.cpp
    gemm.cpp
    peak.cpp
    pointwise.cpp
    pointwise_chain.cpp
    pool2d.cpp
    reduce.cpp
    rows.cpp
    shape.cpp
    table.cpp
    update.cpp
    eigen_contractions.cpp
    eigen_pointwise.cpp
    eigen_reduce.cpp
    eigen_rows.cpp
    eigen_shape.cpp
    eigen_update.cpp
    FLAGS ${flags})
  target_link_libraries(tenon_micro_${name} PRIVATE Eigen3::Eigen)
endfunction()

# tenon_add_levels(): all of them.
function(tenon_add_levels)
  foreach(name arch IN ZIP_LISTS TENON_LEVELS TENON_LEVEL_ARCHS)
    tenon_add_level(${name} ${arch})
  endforeach()
endfunction()

# tenon_tiles(NAME FLAGS flags...): the loops that multiply bf16 in tiles, and nothing else. Not part of the library yet:
# the tests compile them once more, with the tiles emulated.
function(tenon_tiles name)
  tenon_micro(${name} bf16_conv2d.cpp bf16_conv2d_1x1.cpp bf16_conv2d_grad_filter.cpp bf16_conv2d_grad_input.cpp bf16_gemm.cpp
              bf16_peak.cpp bf16_table.cpp ${ARGN})
endfunction()
