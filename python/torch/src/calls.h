// What crosses between the threads of an engine and Python: calls into Python, and errors out of
// it.
#pragma once

#include <torch/csrc/utils/pybind.h>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace halfback {

// What a call into Python has raised. Its text is that of a traceback's last line.
class PythonError : public std::runtime_error {
 public:
  // Call it with the GIL.
  explicit PythonError(pybind11::error_already_set& raised);

  // Call these with the GIL.
  pybind11::object value() const { return raised_->value(); }
  bool is_exception() const;  // false for KeyboardInterrupt and what else ends a program

 private:
  std::shared_ptr<pybind11::error_already_set> raised_;
};

// An object of Python for threads that do not hold the GIL.
class Callable {
 public:
  explicit Callable(pybind11::object object);

  // Calls `use(object)` with the GIL. Throws PythonError for what Python raises.
  template <typename Use>
  auto with(Use use) const {
    const pybind11::gil_scoped_acquire acquire;
    try {
      return use(*object_);
    } catch (pybind11::error_already_set& raised) {
      throw PythonError(raised);
    }
  }

 private:
  std::shared_ptr<pybind11::object> object_;  // dropped with the GIL
};

// Makes errors of the library exceptions of halfback.errors. What Python has raised in a call that
// failed is their cause.
void register_errors();

}  // namespace halfback
