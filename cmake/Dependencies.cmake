# Everything from the distribution, but for torch.
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)

if(HALFBACK_BUILD_FUZZERS)
  return()
endif()

find_package(CLI11 REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
find_path(PCRE2_INCLUDE_DIR pcre2.h REQUIRED)
find_library(PCRE2_LIBRARY pcre2-8 REQUIRED)
find_package(ZLIB REQUIRED)
include(cmake/SentencePiece.cmake)
include(cmake/Torch.cmake)

if(HALFBACK_BUILD_TESTS)
  find_package(GTest REQUIRED)
  find_package(rapidcheck REQUIRED)
endif()
