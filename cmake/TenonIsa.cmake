# tenon_add_isa(NAME ARCH): compiles the loops of kernels/cpu/micro once more, for one x86-64 level, into an object
# library that exports nothing but two tables. Link-time optimisation stays off: it would merge what the flags separate.
function(tenon_add_isa name arch)
  set(target tenon_micro_${name})
  set(folder ${PROJECT_SOURCE_DIR}/kernels/cpu/micro)
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
    ${folder}/peak.cpp
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
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  target_compile_definitions(${target} PRIVATE TENON_ISA=${name})
  target_compile_options(
    ${target} PRIVATE -march=${arch} -ffp-contract=off -fvisibility=hidden -fno-lto
                      $<$<CONFIG:Release,RelWithDebInfo>:-O3>)
  target_link_libraries(${target} PRIVATE tenon_warnings OpenMP::OpenMP_CXX Eigen3::Eigen)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_sources(tenon PRIVATE $<TARGET_OBJECTS:${target}>)
endfunction()
