// Channels and exchanges between threads: order, capacity, deadlines, stopping.
#include "halfback/transport/in_process.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <functional>
#include <future>
#include <thread>
#include <vector>

namespace halfback {
namespace {

constexpr Route kThere{.from = 0, .to = 1};
constexpr Route kBack{.from = 1, .to = 0};

// Messages of stages 0 and 1, on ranks 0 and 1.
Action send_forward(int micro_batch) { return {ActionKind::SendForward, 0, micro_batch}; }
Action receive_forward(int micro_batch) { return {ActionKind::RecvForward, 1, micro_batch}; }
Action send_backward(int micro_batch) { return {ActionKind::SendBackward, 1, micro_batch}; }
Action receive_backward(int micro_batch) { return {ActionKind::RecvBackward, 0, micro_batch}; }

Message message_of(std::int64_t value) {
  at::Tensor tensor = at::empty({1}, at::kLong);
  *tensor.mutable_data_ptr<std::int64_t>() = value;
  return {tensor};
}

std::int64_t value_of(const Message& message) {
  return *message.at(0).const_data_ptr<std::int64_t>();
}

std::unique_ptr<Network> transport_of(int num_ranks, int capacity, double timeout = 30.0) {
  return make_in_process_network({.num_ranks = num_ranks,
                                  .capacity = capacity,
                                  .timeout = std::chrono::duration<double>(timeout)});
}

TEST(InProcessTest, TensorsComeInTheOrderTheyWereSent) {
  const auto transport = transport_of(2, 8);
  for (int i = 0; i < 8; ++i) {
    transport->send(kThere, send_forward(i), message_of(10 + i));
  }
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(value_of(transport->receive(kThere, receive_forward(i))), 10 + i);
  }
}

TEST(InProcessTest, EachOrderedPairOfRanksHasItsOwnChannel) {
  const auto transport = transport_of(2, 1);
  transport->send(kThere, send_forward(0), message_of(1));
  transport->send(kBack, send_backward(0), message_of(2));
  EXPECT_EQ(value_of(transport->receive(kBack, receive_backward(0))), 2);
  EXPECT_EQ(value_of(transport->receive(kThere, receive_forward(0))), 1);
}

TEST(InProcessTest, StorageChangesHandsWithoutACopy) {
  const auto transport = transport_of(2, 1);
  Message message = {at::empty({64, 64}, at::kFloat)};
  const void* const storage = message.front().const_data_ptr();
  transport->send(kThere, send_forward(0), std::move(message));
  const Message received = transport->receive(kThere, receive_forward(0));
  EXPECT_EQ(received.front().const_data_ptr(), storage);
  EXPECT_EQ(received.front().use_count(), 1U)
      << "the channel keeps a tensor that it has handed over";
}

TEST(InProcessTest, AFullChannelHoldsTheSenderUntilThereIsRoom) {
  const auto transport = transport_of(2, 2);
  std::promise<void> is_full;
  std::future<void> sender = std::async(std::launch::async, [&] {
    transport->send(kThere, send_forward(0), message_of(0));
    transport->send(kThere, send_forward(1), message_of(1));
    is_full.set_value();
    transport->send(kThere, send_forward(2), message_of(2));
  });
  is_full.get_future().wait();
  EXPECT_EQ(sender.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_EQ(value_of(transport->receive(kThere, receive_forward(0))), 0);
  sender.get();
  EXPECT_EQ(value_of(transport->receive(kThere, receive_forward(1))), 1);
  EXPECT_EQ(value_of(transport->receive(kThere, receive_forward(2))), 2);
}

TEST(InProcessTest, AChannelOfOnePassesManyTensorsInOrder) {
  constexpr int kCount = 500;
  const auto transport = transport_of(2, 1);
  std::thread sender([&] {
    for (int i = 0; i < kCount; ++i) {
      transport->send(kThere, send_forward(i), message_of(i));
    }
  });
  for (int i = 0; i < kCount; ++i) {
    EXPECT_EQ(value_of(transport->receive(kThere, receive_forward(i))), i);
  }
  sender.join();
}

TEST(InProcessTest, DeadlinesSayWhatWasWaitedFor) {
  const auto transport = transport_of(2, 1, 0.05);
  EXPECT_EQ(text_of_thrown<TransportError>([&] { transport->receive(kThere, receive_forward(3)); }),
            "waited 0.05 s for 0SEND_F3 from rank 0");
  EXPECT_EQ(text_of_thrown<TransportError>([&] { transport->receive(kBack, receive_backward(2)); }),
            "waited 0.05 s for 1SEND_B2 from rank 1");
  transport->send(kThere, send_forward(0), message_of(0));
  EXPECT_EQ(text_of_thrown<TransportError>(
                [&] { transport->send(kThere, send_forward(1), message_of(1)); }),
            "waited 0.05 s for room in the channel from rank 0 to rank 1 (it holds 1 messages)");
  const auto group = std::make_shared<const std::string>("ranks 0, 1");
  const ExchangeName name{.operation = "broadcast", .group = group};
  const at::Tensor tensor = message_of(0).front();
  EXPECT_EQ(
      text_of_thrown<TransportError>([&] {
        transport->begin_exchange(0, name, {{.peer = 1, .gives = tensor, .gets = {}}})->wait();
      }),
      "waited 0.05 s for rank 1 to join broadcast of ranks 0, 1");
}

TEST(InProcessTest, ATensorThatCouldNotBeSentLeavesTheOrderAlone) {
  const auto transport = transport_of(2, 1, 0.01);
  transport->send(kThere, send_forward(0), message_of(0));
  EXPECT_THROW(transport->send(kThere, send_forward(1), message_of(1)), TransportError);
  EXPECT_EQ(value_of(transport->receive(kThere, receive_forward(0))), 0);
  transport->send(kThere, send_forward(2), message_of(2));
  EXPECT_EQ(value_of(transport->receive(kThere, receive_forward(2))), 2);
}

TEST(InProcessTest, AnotherActionThanExpectedIsRefused) {
  const auto refusal = [](const Action& sent, const Action& wanted) {
    const auto transport = transport_of(2, 4);
    transport->send(kThere, sent, message_of(0));
    return text_of_thrown<TransportError>([&] { transport->receive(kThere, wanted); });
  };
  EXPECT_EQ(refusal(send_forward(1), receive_forward(0)),
            "transport: rank 1 expects 0SEND_F0 from rank 0, but 0SEND_F1 comes first; sends and "
            "receives of a pair of ranks must have one order");
  EXPECT_TRUE(contains(refusal(send_backward(0), receive_forward(0)),
                       "expects 0SEND_F0 from rank 0, but 1SEND_B0 comes first"));
  EXPECT_TRUE(contains(refusal({ActionKind::SendForward, 2, 0}, receive_forward(0)),
                       "expects 0SEND_F0 from rank 0, but 2SEND_F0 comes first"));
}

TEST(InProcessTest, StopWakesEveryWait) {
  const auto transport = transport_of(4, 1);
  transport->send(kThere, send_forward(0), message_of(0));
  const at::Tensor tensor = message_of(0).front();
  const std::vector<std::function<void()>> waits = {
      [&] { transport->send(kThere, send_forward(1), message_of(1)); },
      [&] { transport->receive(kBack, receive_backward(0)); },
      [&] { transport->receive({.from = 3, .to = 2}, receive_forward(0)); },
      [&] { transport->begin_exchange(3, {}, {{.peer = 2, .gives = {}, .gets = tensor}})->wait(); },
  };
  std::barrier all_are_here(static_cast<std::ptrdiff_t>(waits.size()) + 1);
  std::atomic<int> num_stopped{0};
  std::vector<std::thread> threads;
  for (const auto& wait : waits) {
    threads.emplace_back([&] {
      all_are_here.arrive_and_wait();
      try {
        wait();
      } catch (const StoppedError&) {
        ++num_stopped;
      }
    });
  }
  all_are_here.arrive_and_wait();
  transport->stop();
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(num_stopped, static_cast<int>(waits.size()));
}

TEST(InProcessTest, AfterStopNothingWaitsAnyMore) {
  const auto transport = transport_of(2, 1);
  transport->stop();
  transport->stop();
  EXPECT_THROW(transport->receive(kThere, receive_forward(0)), StoppedError);
  EXPECT_THROW(transport->send(kThere, send_forward(0), message_of(0)), StoppedError);
  const at::Tensor tensor = message_of(0).front();
  EXPECT_THROW(transport->begin_exchange(0, {}, {{.peer = 1, .gives = tensor, .gets = {}}})->wait(),
               StoppedError);
}

TEST(InProcessTest, SizesThatNobodyCanHaveAreOurMistake) {
  EXPECT_THROW(make_in_process_network({.num_ranks = 0}), std::logic_error);
  EXPECT_THROW(make_in_process_network({.num_ranks = 1, .capacity = 0}), std::logic_error);
}

}  // namespace
}  // namespace halfback
