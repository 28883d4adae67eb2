#include "halfback/transport/gloo_channel.h"

#include "halfback/base/error.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

// What every message begins with.
struct Header {
  std::int64_t kind = 0;
  std::int64_t stage = 0;
  std::int64_t micro_batch = 0;
  std::int64_t layout_size = 0;  // numbers that follow; 0: the layout of the message before
};
constexpr std::int64_t kHeaderSize = sizeof(Header) / sizeof(std::int64_t);

at::Tensor numbers(std::int64_t count) { return at::empty({count}, at::kLong); }

Header& header_in(const at::Tensor& tensor) {
  return *reinterpret_cast<Header*>(tensor.mutable_data_ptr<std::int64_t>());
}

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

// Calls `call` with dtype (-1: undefined) and sizes of each tensor.
template <typename Call>
void for_each_tensor(const Layout& layout, Call&& call) {
  for (std::size_t i = 1; i < layout.size();) {
    const std::int64_t dtype = layout[i];
    const auto dimensions = static_cast<std::size_t>(layout[i + 1]);
    call(dtype, at::IntArrayRef(layout).slice(i + 2, dimensions));
    i += 2 + dimensions;
  }
}

[[noreturn]] void throw_gone(const GlooLink& link, const std::string& reason) {
  throw TransportError(fmt::format("{} is gone: {}", link.peer_name, reason));
}

}  // namespace

GlooSender::GlooSender(const GlooLink& link) : link_(link), thread_([this] { run(); }) {}

GlooSender::~GlooSender() {
  stop();
  thread_.join();
}

bool GlooSender::is_full() const {
  // The end of the header after a message tells that it was taken; see the top of gloo_channel.h.
  const std::int64_t unknown = link_.capacity == 1 ? 0 : link_.capacity - 2;
  return num_sent_ >= link_.capacity && num_sent_ - num_headers_ > unknown;
}

bool GlooSender::send(const Action& action, Message message, Waits::Clock::time_point deadline) {
  for (at::Tensor& tensor : message) {
    if (tensor.defined() && !tensor.is_cpu()) {
      throw TransportError(fmt::format(
          "transport: a tensor of {} lies on {}; processes exchange tensors of the CPU only so far",
          to_string(action), tensor.device().str()));
    }
    tensor = tensor.defined() ? tensor.contiguous() : tensor;
  }
  std::unique_lock lock(mutex_);
  const bool has_room =
      changed_.wait_until(lock, deadline, [&] { return is_stopped_ || failure_ || !is_full(); });
  if (is_stopped_) {
    throw StoppedError();
  }
  if (failure_) {
    throw_gone(link_, *failure_);
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
  const at::Tensor header = numbers(kHeaderSize);
  header_in(header) = {
      .kind = static_cast<std::int64_t>(envelope.action.kind),
      .stage = envelope.action.stage,
      .micro_batch = envelope.action.micro_batch,
      .layout_size = has_same_layout ? 0 : static_cast<std::int64_t>(layout.size())};

  std::vector<std::unique_ptr<Transfer>> transfers;
  const auto post = [&](const at::Tensor& tensor) {
    transfers.push_back(link_.group.send(tensor, link_.process, link_.tag));
  };
  post(header);
  if (!has_same_layout) {
    for_each_tensor(layout_, [&](std::int64_t dtype, at::IntArrayRef) {
      if (dtype >= 0) {
        post(numbers(0));
      }
    });
    const at::Tensor text = numbers(static_cast<std::int64_t>(layout.size()));
    std::copy(layout.begin(), layout.end(), text.mutable_data_ptr<std::int64_t>());
    post(text);
    layout_ = std::move(layout);
  }
  std::int64_t bytes = 0;
  for (const at::Tensor& tensor : envelope.message) {
    if (tensor.defined()) {
      post(tensor);
      bytes += static_cast<std::int64_t>(tensor.nbytes());
    }
  }

  link_.waits.wait(*transfers.front(), Waits::kNoDeadline);
  {
    const std::lock_guard lock(mutex_);
    ++num_headers_;
    changed_.notify_all();
  }
  for (std::size_t i = 1; i < transfers.size(); ++i) {
    link_.waits.wait(*transfers[i], Waits::kNoDeadline);
  }
  const std::lock_guard lock(mutex_);
  ++use_.messages;
  use_.bytes += bytes;
  use_.seconds += std::chrono::duration<double>(Waits::Clock::now() - start).count();
}

GlooReceiver::GlooReceiver(const GlooLink& link, Allocate allocate)
    : link_(link), allocate_(std::move(allocate)) {}

GlooReceiver::Posted GlooReceiver::post(at::Tensor tensor) {
  auto transfer = link_.group.receive(tensor, link_.process, link_.tag);
  return {std::move(tensor), std::move(transfer)};
}

void GlooReceiver::post_tensors() {
  tensors_.clear();
  for_each_tensor(layout_, [&](std::int64_t dtype, at::IntArrayRef sizes) {
    tensors_.push_back(dtype < 0 ? Posted()
                                 : post(allocate_(sizes, static_cast<at::ScalarType>(dtype))));
  });
}

void GlooReceiver::post_message() {
  header_ = post(numbers(kHeaderSize));
  post_tensors();
}

bool GlooReceiver::wait(const Posted& posted, Waits::Clock::time_point deadline) {
  return !posted.transfer || link_.waits.wait(*posted.transfer, deadline);
}

std::optional<GlooReceiver::Received> GlooReceiver::receive(Waits::Clock::time_point deadline) {
  try {
    if (!header_) {
      post_message();
    }
    const auto all_are_there = [&] {
      return std::all_of(tensors_.begin(), tensors_.end(),
                         [&](const Posted& posted) { return wait(posted, deadline); });
    };
    if (!wait(*header_, deadline)) {
      return std::nullopt;
    }
    const Header header = header_in(header_->tensor);
    if (header.layout_size > 0) {
      if (!all_are_there()) {
        return std::nullopt;
      }
      const Posted text = post(numbers(header.layout_size));
      if (!wait(text, deadline)) {
        return std::nullopt;
      }
      const auto* const begin = text.tensor.const_data_ptr<std::int64_t>();
      layout_.assign(begin, begin + header.layout_size);
      post_tensors();
    }
    if (!all_are_there()) {
      return std::nullopt;
    }
    Received received{.action = {.kind = static_cast<ActionKind>(header.kind),
                                 .stage = static_cast<int>(header.stage),
                                 .micro_batch = static_cast<int>(header.micro_batch)}};
    for (Posted& posted : tensors_) {
      received.message.push_back(std::move(posted.tensor));
    }
    header_.reset();
    tensors_.clear();
    if (link_.capacity > 1) {
      post_message();
    }
    return received;
  } catch (const TransportError& error) {
    throw_gone(link_, error.what());
  }
}

}  // namespace halfback
