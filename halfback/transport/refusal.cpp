#include "halfback/transport/refusal.h"

#include <c10/util/Exception.h>

#include <exception>

namespace halfback {

std::optional<RefusedError> refusal_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const RefusedError&) {
    throw;
  } catch (const TransportError&) {
    throw;
  } catch (const ConfigError& error) {
    return RefusedError(error.what(), true);
  } catch (const c10::Error& error) {
    return RefusedError(error.what_without_backtrace(), false);
  } catch (const std::exception& error) {
    return RefusedError(error.what(), false);
  }
  return std::nullopt;
}

}  // namespace halfback
