# TENON_LEVELS: the instruction sets of the processor that is compiled for, best first, as kernels/cpu/levels.hpp lists
# them; TENON_LEVEL_ARCHS: the -march of each.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  set(TENON_LEVELS avx512 avx2 baseline)
  set(TENON_LEVEL_ARCHS x86-64-v4 x86-64-v3 x86-64-v2)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(TENON_LEVELS neon)
  set(TENON_LEVEL_ARCHS armv8-a)
else()
  message(FATAL_ERROR "[levels] expected an x86-64 or AArch64 processor, found '${CMAKE_SYSTEM_PROCESSOR}'")
endif()

# tenon_add_level(NAME ARCH): compiles the loops of kernels/cpu/micro once more, for one level, into the object library
# tenon_micro_NAME, which exports nothing but two tables. Link-time optimisation stays off: it would merge what the flags
# separate.
function(tenon_add_level name arch)
  set(target tenon_micro_${name})
  cmake_path(GET CMAKE_CURRENT_FUNCTION_LIST_DIR PARENT_PATH root)
  set(folder ${root}/kernels/cpu/micro)
  add_library(
    ${target} OBJECT
    ${folder}/bias.cpp
    ${folder}/conv2d_depthwise.cpp
    ${folder}/conv2d_direct.cpp
    ${folder}/conv2d_grad_filter.cpp
    ${folder}/conv2d_grad_input.cpp
    ${folder}/conv2d_grad_input_dense.cpp
    ${folder}/conv2d_winograd.cpp
    ${folder}/dropout.cpp
    ${folder}/elementwise_loss.cpp
    ${folder}/gemm.cpp
    ${folder}/pointwise.cpp
    ${folder}/pointwise_chain.cpp
    ${folder}/pool2d.cpp
    ${folder}/reduce.cpp
    ${folder}/rows.cpp
    ${folder}/shape.cpp
    ${folder}/table.cpp
    ${folder}/update.cpp
    ${folder}/eigen_contractions.cpp
    ${folder}/eigen_pointwise.cpp
    ${folder}/eigen_reduce.cpp
    ${folder}/eigen_rows.cpp
    ${folder}/eigen_shape.cpp
    ${folder}/eigen_update.cpp)
  target_include_directories(${target} PRIVATE ${root} ${root}/include)
  target_compile_definitions(${target} PRIVATE TENON_ISA=${name})
  target_compile_options(
    ${target} PRIVATE -march=${arch} -ffp-contract=off -fvisibility=hidden -fno-lto
                      $<$<CONFIG:Release,RelWithDebInfo>:-O3>)
  # GCC for AArch64 loads what it will need as early as it can, and then has no registers left for the accumulators.
  if(name STREQUAL "neon" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fno-schedule-insns)
  endif()
  target_link_libraries(${target} PRIVATE tenon_warnings OpenMP::OpenMP_CXX Eigen3::Eigen)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

# tenon_add_levels(): all of them.
function(tenon_add_levels)
  foreach(name arch IN ZIP_LISTS TENON_LEVELS TENON_LEVEL_ARCHS)
    tenon_add_level(${name} ${arch})
  endforeach()
endfunction()
