# Everything from the distribution, but for torch.
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)

if(HALFBACK_BUILD_FUZZERS)
  return()
endif()

find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(ZLIB REQUIRED)
include(cmake/SentencePiece.cmake)
include(cmake/Torch.cmake)

if(HALFBACK_BUILD_TESTS)
  find_package(GTest REQUIRED)
  find_package(rapidcheck REQUIRED)
endif()
