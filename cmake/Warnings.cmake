# The project's own targets compile with these; headers of dependencies are system headers.
add_library(halfback_warnings INTERFACE)
# A designated initializer that leaves a member to its default is meant so.
target_compile_options(halfback_warnings INTERFACE
  -Wall -Wextra -Wno-missing-field-initializers -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast
  $<$<BOOL:${HALFBACK_WARNINGS_AS_ERRORS}>:-Werror>)
