# What the Python package is built with: the headers that its build requirements bring from PyPI, before those of the
# system, so that a compiler with a C library of its own (zig) finds no other. fmt is used as headers.
function(halfback_headers target header)
  list(TRANSFORM CMAKE_PREFIX_PATH APPEND /${ARGN} OUTPUT_VARIABLE hints)
  find_path(${target}_INCLUDE_DIR ${header} HINTS ${hints} REQUIRED)
  add_library(${target} INTERFACE IMPORTED)
  target_include_directories(${target} INTERFACE ${${target}_INCLUDE_DIR})
endfunction()

halfback_headers(fmt::fmt fmt/format.h cmeel.prefix/include)
halfback_headers(nlohmann_json::nlohmann_json nlohmann/json.hpp nlohmann_json/include)
target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY)

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
