#include "halfback/transport/gloo_channel.h"

#include "halfback/base/error.h"
#include "halfback/transport/number_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <type_traits>
#include <utility>

namespace halfback {

namespace {

at::Tensor tensor_of(GlooHeader& header) {
  static_assert(std::is_standard_layout_v<GlooHeader>);
  return tensor_over(std::span(&header.kind, sizeof(header) / sizeof(header.kind)));
}

at::Tensor tensor_of(Layout& layout) { return tensor_over(std::span(layout)); }

Layout layout_of(const Message& message) {
  Layout layout = {static_cast<std::int64_t>(message.size())};
  for (const at::Tensor& tensor : message) {
    if (!tensor.defined()) {
      layout.insert(layout.end(), {-1, 0});
      continue;
    }
    layout.push_back(static_cast<std::int64_t>(tensor.scalar_type()));
    layout.push_back(tensor.dim());
    layout.insert(layout.end(), tensor.sizes().begin(), tensor.sizes().end());
  }
  return layout;
}

// Calls `call` with the dtype (-1: undefined) and sizes of each tensor.
template <typename Call>
void for_each_tensor(const Layout& layout, Call&& call) {
  for (std::size_t i = 1; i < layout.size();) {
    const std::int64_t dtype = layout[i];
    const auto dimensions = static_cast<std::size_t>(layout[i + 1]);
    call(dtype, at::IntArrayRef(layout).slice(i + 2, dimensions));
    i += 2 + dimensions;
  }
}

}  // namespace

GlooSender::GlooSender(const GlooLink& link) : link_(link), thread_([this] { run(); }) {}

GlooSender::~GlooSender() {
  stop();
  thread_.join();
}

bool GlooSender::is_full() const {
  // A message was taken once the next header's send ends; see the top of gloo_channel.h.
  const std::int64_t unknown = link_.capacity == 1 ? 0 : link_.capacity - 2;
  return num_sent_ >= link_.capacity && num_sent_ - num_headers_ > unknown;
}

bool GlooSender::send(const Action& action, Message message, Waits::Clock::time_point deadline) {
  for (const at::Tensor& tensor : message) {
    if (tensor.defined() && !tensor.is_cpu()) {
      throw TransportError(
          fmt::format("transport: a tensor of {} lies on {}; processes exchange tensors of the CPU "
                      "only so far; use --device cpu",
                      to_string(action), tensor.device().str()));
    }
  }
  std::unique_lock lock(mutex_);
  const bool has_room =
      changed_.wait_until(lock, deadline, [&] { return is_stopped_ || failure_ || !is_full(); });
  if (is_stopped_) {
    throw StoppedError();
  }
  if (failure_) {
    throw TransportError(*failure_);
  }
  if (has_room) {
    queue_.push_back({action, std::move(message)});
    ++num_sent_;
    changed_.notify_all();
  }
  return has_room;
}

void GlooSender::stop() {
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
  changed_.notify_all();
}

LinkUse GlooSender::use() const {
  const std::lock_guard lock(mutex_);
  return use_;
}

void GlooSender::run() {
  try {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return is_stopped_ || !queue_.empty(); });
      if (is_stopped_) {
        return;
      }
      const Envelope envelope = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      send_now(envelope);
    }
  } catch (const StoppedError&) {
  } catch (const TransportError& error) {
    const std::lock_guard lock(mutex_);
    failure_ = error.what();
    changed_.notify_all();
  }
}

void GlooSender::send_now(const Envelope& envelope) {
  const auto start = Waits::Clock::now();
  Layout layout = layout_of(envelope.message);
  const bool has_same_layout = layout == layout_;
  GlooHeader header = {
      .kind = static_cast<std::int64_t>(envelope.action.kind),
      .stage = envelope.action.stage,
      .micro_batch = envelope.action.micro_batch,
      .slice = envelope.action.slice,
      .loss = envelope.action.loss,
      .layout_size = has_same_layout ? 0 : static_cast<std::int64_t>(layout.size())};

  Layout nothing;
  std::vector<std::unique_ptr<Transfer>> transfers;
  const auto post = [&](const at::Tensor& tensor) {
    transfers.push_back(link_.peers.send(tensor, link_.process, link_.tag));
  };
  post(tensor_of(header));
  if (!has_same_layout) {
    // The receiver has posted receives of the previous layout: use them up.
    for_each_tensor(layout_, [&](std::int64_t dtype, at::IntArrayRef) {
      if (dtype >= 0) {
        post(tensor_of(nothing));
      }
    });
    layout_ = std::move(layout);
    post(tensor_of(layout_));
  }
  std::int64_t bytes = 0;
  for (const at::Tensor& tensor : envelope.message) {
    if (tensor.defined()) {
      post(tensor.contiguous());
      bytes += static_cast<std::int64_t>(tensor.nbytes());
    }
  }

  link_.peers.wait(*transfers.front(), link_.process, Waits::kNoDeadline);
  {
    const std::lock_guard lock(mutex_);
    ++num_headers_;
    changed_.notify_all();
  }
  for (std::size_t i = 1; i < transfers.size(); ++i) {
    link_.peers.wait(*transfers[i], link_.process, Waits::kNoDeadline);
  }
  const std::lock_guard lock(mutex_);
  ++use_.messages;
  use_.bytes += bytes;
  use_.seconds += std::chrono::duration<double>(Waits::Clock::now() - start).count();
}

GlooReceiver::GlooReceiver(const GlooLink& link, Allocate allocate)
    : link_(link), allocate_(std::move(allocate)) {}

std::unique_ptr<Transfer> GlooReceiver::post(const at::Tensor& tensor) {
  return link_.peers.receive(tensor, link_.process, link_.tag);
}

void GlooReceiver::post_tensors() {
  tensors_.clear();
  for_each_tensor(layout_, [&](std::int64_t dtype, at::IntArrayRef sizes) {
    Posted& posted = tensors_.emplace_back();
    if (dtype >= 0) {
      posted.tensor = allocate_(sizes, static_cast<at::ScalarType>(dtype));
      posted.transfer = post(posted.tensor);
    }
  });
}

void GlooReceiver::post_message() {
  header_transfer_ = post(tensor_of(header_));
  post_tensors();
}

bool GlooReceiver::wait(Transfer& transfer, Waits::Clock::time_point deadline) {
  return link_.peers.wait(transfer, link_.process, deadline);
}

bool GlooReceiver::wait_for_tensors(Waits::Clock::time_point deadline) {
  return std::all_of(tensors_.begin(), tensors_.end(), [&](const Posted& posted) {
    return !posted.transfer || wait(*posted.transfer, deadline);
  });
}

bool GlooReceiver::take_layout(Waits::Clock::time_point deadline) {
  // The receives of the previous layout were posted first, so they end first.
  if (!wait_for_tensors(deadline)) {
    return false;
  }
  layout_.resize(static_cast<std::size_t>(header_.layout_size));
  return wait(*post(tensor_of(layout_)), deadline);
}

std::optional<GlooReceiver::Received> GlooReceiver::receive(Waits::Clock::time_point deadline) {
  if (!header_transfer_) {
    post_message();
  }
  if (!wait(*header_transfer_, deadline)) {
    return std::nullopt;
  }
  if (header_.layout_size > 0) {
    if (!take_layout(deadline)) {
      return std::nullopt;
    }
    post_tensors();
  }
  if (!wait_for_tensors(deadline)) {
    return std::nullopt;
  }
  Received received{
      .action = {static_cast<ActionKind>(header_.kind), static_cast<int>(header_.stage),
                 static_cast<int>(header_.micro_batch), static_cast<std::uint16_t>(header_.slice)}};
  received.action.loss = static_cast<std::uint8_t>(header_.loss);
  for (Posted& posted : tensors_) {
    received.message.push_back(std::move(posted.tensor));
  }
  header_transfer_.reset();
  tensors_.clear();
  if (link_.capacity > 1) {
    post_message();
  }
  return received;
}

}  // namespace halfback
