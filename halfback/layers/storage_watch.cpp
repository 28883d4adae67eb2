#include "halfback/layers/storage_watch.h"

#include "halfback/base/error.h"

#include <ATen/record_function.h>

#include <memory>

namespace halfback {

namespace {

thread_local StorageWatch* current = nullptr;

void note_all(const c10::IValue& value) {
  if (value.isTensor()) {
    current->note(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) {
      note_all(element);
    }
  }
}

std::unique_ptr<at::ObserverContext> at_start(const at::RecordFunction& /*function*/) {
  return nullptr;
}

void at_end(const at::RecordFunction& function, at::ObserverContext* /*context*/) {
  for (const c10::IValue& output : function.outputs()) {
    note_all(output);
  }
}

}  // namespace

StorageWatch::StorageWatch()
    : callback_(at::addThreadLocalCallback(at::RecordFunctionCallback(at_start, at_end)
                                               .needsOutputs(true)
                                               .scopes({at::RecordScope::FUNCTION}))) {
  HALFBACK_CHECK(current == nullptr, "one watch at a time");
  current = this;
}

StorageWatch::~StorageWatch() {
  at::removeCallback(callback_);
  current = nullptr;
}

void StorageWatch::note(const at::Tensor& tensor) {
  if (tensor.defined() && tensor.has_storage() && !tensor.is_meta()) {
    const c10::Storage& storage = tensor.storage();
    seen_.try_emplace(storage.unsafeGetStorageImpl(), storage.getWeakStorageImpl());
  }
}

StorageWatch::Alive StorageWatch::alive() const {
  Alive alive;
  for (const auto& [address, storage] : seen_) {
    if (!storage.expired()) {
      alive[address] = static_cast<std::int64_t>(address->nbytes());
    }
  }
  return alive;
}

SavedBytes kept_bytes(const StorageWatch::Alive& after_forward,
                      const StorageWatch::Alive& after_input,
                      const StorageWatch::Alive& afterwards) {
  SavedBytes bytes;
  for (const auto& [storage, size] : after_forward) {
    if (!afterwards.contains(storage)) {
      (after_input.contains(storage) ? bytes.until_weight : bytes.until_input) += size;
    }
  }
  for (const auto& [storage, size] : after_input) {
    if (!afterwards.contains(storage) && !after_forward.contains(storage)) {
      bytes.gradients += size;
    }
  }
  return bytes;
}

}  // namespace halfback
