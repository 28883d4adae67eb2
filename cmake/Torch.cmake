# torch_for_halfback: the libtorch in CMAKE_PREFIX_PATH, which is the folder `torch` of a pip wheel or an unpacked libtorch.
#
# Not find_package(Torch): for a CUDA build that asks for nvcc and a toolkit, which code on ATen alone does not need.
find_path(TORCH_INCLUDE_DIR ATen/core/Tensor.h REQUIRED)
find_library(TORCH_CPU_LIBRARY torch_cpu REQUIRED)
find_library(C10_LIBRARY c10 REQUIRED)
file(STRINGS ${C10_LIBRARY} new_abi_symbol REGEX "_ZN3c105Error.*__cxx11" LIMIT_COUNT 1)
if(NOT new_abi_symbol)
  message(FATAL_ERROR "${C10_LIBRARY} is built with the old C++ ABI; Halfback needs a torch with "
                      "_GLIBCXX_USE_CXX11_ABI=1 (any wheel from 2.7 on)")
endif()

# With OpenMP, or at::parallel_for, a template, runs on one thread. The wheel's own libgomp.so.1 is the one that is loaded.
find_package(OpenMP REQUIRED)
find_package(Threads REQUIRED)
add_library(torch_for_halfback INTERFACE)
target_link_libraries(torch_for_halfback INTERFACE ${TORCH_CPU_LIBRARY} ${C10_LIBRARY} OpenMP::OpenMP_CXX
                                                   Threads::Threads)

# Whether libtorch exports at::native::mkldnn_matmul, of which it has no header: linking tells.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LIBRARIES ${TORCH_CPU_LIBRARY} ${C10_LIBRARY})
set(mkldnn_matmul _ZN2at6native13mkldnn_matmulERKNS_6TensorES3_S3_ff)
check_cxx_source_compiles("extern \"C\" void ${mkldnn_matmul}(); int main() { ${mkldnn_matmul}(); }"
                          HALFBACK_MKLDNN_MATMUL)
unset(CMAKE_REQUIRED_LIBRARIES)

# A torch wheel has headers of another fmt than the library linked here. Its folder comes before the
# system's, so a link to the right headers goes before both.
get_target_property(fmt_include_dir fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/fmt_first)
file(CREATE_LINK ${fmt_include_dir}/fmt ${PROJECT_BINARY_DIR}/fmt_first/fmt SYMBOLIC)
target_include_directories(torch_for_halfback SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/fmt_first
                                                               ${TORCH_INCLUDE_DIR}
                                                               ${TORCH_INCLUDE_DIR}/torch/csrc/api/include)

# gloo_headers: what c10d's Gloo header includes and a torch wheel does not ship. For compiling only: Gloo itself is inside
# libtorch, and a second one in the same process would clash with it.
find_path(GLOO_INCLUDE_DIR gloo/algorithm.h)
if(NOT GLOO_INCLUDE_DIR)
  message(FATAL_ERROR "Gloo's headers (gloo/algorithm.h) are missing, which ranks in several processes need; "
                      "install libgloo-dev or set GLOO_INCLUDE_DIR")
endif()
add_library(gloo_headers INTERFACE)
target_include_directories(gloo_headers SYSTEM INTERFACE ${GLOO_INCLUDE_DIR})
