# Everything from the distribution; torch from a pip wheel or a libtorch folder (CMAKE_PREFIX_PATH).
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

# A torch wheel has headers of another fmt than the library linked here. Its folder comes before the
# system's, so a link to the right headers goes before both.
find_path(FMT_INCLUDE_DIR fmt/format.h REQUIRED)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/fmt_first)
file(CREATE_LINK ${FMT_INCLUDE_DIR}/fmt ${PROJECT_BINARY_DIR}/fmt_first/fmt SYMBOLIC)
target_include_directories(torch_for_halfback SYSTEM BEFORE INTERFACE ${PROJECT_BINARY_DIR}/fmt_first)

if(HALFBACK_BUILD_TESTS)
  find_package(GTest REQUIRED)
  find_package(rapidcheck REQUIRED)
endif()
