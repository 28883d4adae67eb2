#include "python/src/core/errors.h"

#include "halfback/base/error.h"

#include <nanobind/nanobind.h>

namespace halfback::python {

namespace nb = nanobind;

namespace {

// The classes are imported when they are needed: this module can be imported on its own.
template <typename... Args>
void raise(const char* name, const Args&... args) {
  const nb::object error = nb::module_::import_("halfback.errors").attr(name)(args...);
  PyErr_SetObject(error.type().ptr(), error.ptr());
}

void raise(const ScheduleError& error) {
  if (const auto& place = error.place()) {
    raise("ScheduleError", error.what(), place->rank, place->position, place->action.c_str());
  } else {
    raise("ScheduleError", error.what());
  }
}

void translate(const std::exception_ptr& thrown, void* /*payload*/) {
  try {
    std::rethrow_exception(thrown);
  } catch (const ScheduleError& error) {
    raise(error);
  } catch (const ConfigError& error) {
    raise("ConfigError", error.what());
  } catch (const FileError& error) {
    raise("FileError", error.what());
  } catch (const Error& error) {
    raise("Error", error.what());
  }
}

}  // namespace

void translate_errors() { nb::register_exception_translator(translate); }

}  // namespace halfback::python
