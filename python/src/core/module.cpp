#include "halfback/schedule/kind.h"
#include "python/src/core/bindings.h"
#include "python/src/core/errors.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

namespace nb = nanobind;

NB_MODULE(_core, module) {
  using namespace halfback;  // NOLINT(google-build-using-namespace)
  module.attr("__version__") = HALFBACK_VERSION;
  nb::list kinds;
  for (const KindTraits& row : kKinds) {
    kinds.append(std::string(row.letters));
  }
  module.attr("KINDS") = nb::tuple(kinds);
  python::translate_errors();
  python::bind_run(module);
  python::bind_schedule(module);
  python::bind_families(module);
}
