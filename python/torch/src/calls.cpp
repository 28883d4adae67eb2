#include "python/torch/src/calls.h"

#include "halfback/base/error.h"

namespace halfback {

namespace py = pybind11;

namespace {

std::string last_line(const py::error_already_set& raised) {
  const std::string name = py::str(raised.type().attr("__name__"));
  const std::string text = py::str(raised.value());
  return text.empty() ? name : name + ": " + text;
}

// Returns what Python has raised inside an error, or none.
std::shared_ptr<PythonError> raised_inside(const std::exception& error) {
  if (const auto* const found = dynamic_cast<const PythonError*>(&error)) {
    return std::make_shared<PythonError>(*found);
  }
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& inner) {
    return raised_inside(inner);
  } catch (...) {
  }
  return {};
}

void raise(const char* name, const std::exception& error) {
  const std::shared_ptr<PythonError> inside = raised_inside(error);
  if (inside && !inside->is_exception()) {  // the user wants to stop
    const py::object value = inside->value();
    PyErr_SetObject(py::type::of(value).ptr(), value.ptr());
    return;
  }
  const py::object type = py::module_::import("halfback.errors").attr(name);
  py::object made = type(error.what());
  if (inside) {
    PyException_SetCause(made.ptr(), inside->value().release().ptr());
  }
  PyErr_SetObject(type.ptr(), made.ptr());
}

void translate(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(std::move(thrown));
  } catch (const ConfigError& error) {
    raise("ConfigError", error);
  } catch (const ScheduleError& error) {
    raise("ScheduleError", error);
  } catch (const Error& error) {
    raise("Error", error);
  } catch (const PythonError& error) {
    const py::object value = error.value();
    PyErr_SetObject(py::type::of(value).ptr(), value.ptr());
  }
}

}  // namespace

PythonError::PythonError(py::error_already_set& raised)
    : std::runtime_error(last_line(raised)),
      raised_(std::make_shared<py::error_already_set>(raised)) {}

bool PythonError::is_exception() const {
  return PyErr_GivenExceptionMatches(raised_->type().ptr(), PyExc_Exception) != 0;
}

Callable::Callable(py::object object)
    : object_(new py::object(std::move(object)), [](py::object* dropped) {
        const py::gil_scoped_acquire acquire;
        delete dropped;
      }) {}

void register_errors() { py::register_exception_translator(translate); }

}  // namespace halfback
