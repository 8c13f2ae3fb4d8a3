# tenon_micro(NAME SOURCES... FLAGS flags...): files of kernels/cpu/micro compiled once more, in the namespace of one
# instruction set, into the object library tenon_micro_NAME, which exports nothing but its tables. Link-time optimisation
# stays off: it would merge what the flags separate.
function(tenon_micro name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "FLAGS")
  set(target tenon_micro_${name})
  list(TRANSFORM arg_UNPARSED_ARGUMENTS PREPEND ${PROJECT_SOURCE_DIR}/kernels/cpu/micro/)
  add_library(${target} OBJECT ${arg_UNPARSED_ARGUMENTS})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  target_compile_definitions(${target} PRIVATE TENON_ISA=${name})
  target_compile_options(${target} PRIVATE ${arg_FLAGS} -ffp-contract=off -fvisibility=hidden -fno-lto
                                           $<$<CONFIG:Release,RelWithDebInfo>:-O3>)
  target_link_libraries(${target} PRIVATE tenon_warnings OpenMP::OpenMP_CXX)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

# tenon_add_isa(NAME ARCH): a level of x86-64 with every loop, ours and Eigen's, as part of the library.
function(tenon_add_isa name arch)
  tenon_micro(
    ${name}
    bias.cpp
    conv2d_depthwise.cpp
    conv2d_direct.cpp
    conv2d_grad_filter.cpp
    conv2d_grad_input.cpp
    conv2d_grad_input_dense.cpp
    conv2d_winograd.cpp
    dropout.cpp
    elementwise_loss.cpp
    gemm.cpp
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
    FLAGS -march=${arch})
  target_link_libraries(tenon_micro_${name} PRIVATE Eigen3::Eigen)
  target_sources(tenon PRIVATE $<TARGET_OBJECTS:tenon_micro_${name}>)
endfunction()

# tenon_tiles(NAME FLAGS flags...): the loops that multiply bf16 in tiles, and nothing else. Not part of the library yet:
# the tests compile them once more, with the tiles emulated.
function(tenon_tiles name)
  tenon_micro(${name} bf16_conv2d.cpp bf16_conv2d_grad_filter.cpp bf16_conv2d_grad_input.cpp bf16_gemm.cpp
              bf16_table.cpp ${ARGN})
endfunction()
