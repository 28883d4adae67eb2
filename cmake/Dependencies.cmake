# Everything from the distribution; torch from a pip wheel or a libtorch folder (CMAKE_PREFIX_PATH).
# Header-only: torch wheels ship their own, newer fmt headers, which come first in torch targets.
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Threads REQUIRED)

if(HALFBACK_BUILD_FUZZERS)
  return()
endif()

find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(Torch REQUIRED)
if(TORCH_CXX_FLAGS MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
  message(FATAL_ERROR "this torch is built with the old C++ ABI; Halfback needs one with "
                      "_GLIBCXX_USE_CXX11_ABI=1 (any wheel from 2.7 on)")
endif()
add_library(torch_for_halfback INTERFACE)
target_link_libraries(torch_for_halfback INTERFACE ${TORCH_LIBRARIES} Threads::Threads)

if(HALFBACK_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(HALFBACK_BUILD_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
