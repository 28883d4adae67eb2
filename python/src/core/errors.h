// The errors of the library as those of halfback/errors.py.
#pragma once

namespace halfback::python {

void translate_errors();

}  // namespace halfback::python
