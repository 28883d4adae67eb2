// Channels between threads: order, capacity, deadlines, stopping, exchanges of all ranks.
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

std::unique_ptr<Transport> transport_of(int num_ranks, int capacity, double timeout = 30.0) {
  return make_in_process_transport({.num_ranks = num_ranks,
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
  EXPECT_EQ(text_of_thrown<TransportError>([&] { transport->all_gather(0, {1.0}); }),
            "waited 0.05 s for all ranks at the end of the step (1 of 2 are there)");
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
  const std::vector<std::function<void()>> waits = {
      [&] { transport->send(kThere, send_forward(1), message_of(1)); },
      [&] { transport->receive(kBack, receive_backward(0)); },
      [&] { transport->receive({.from = 3, .to = 2}, receive_forward(0)); },
      [&] { transport->all_gather(2, {1.0}); },
      [&] { transport->all_gather(3, {1.0}); },
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
  EXPECT_THROW(transport->all_gather(0, {}), StoppedError);
}

TEST(InProcessTest, AllRanksSeeTheValuesOfAllRoundAfterRound) {
  constexpr int kRanks = 4;
  constexpr int kRounds = 400;
  const auto transport = transport_of(kRanks, 1);
  std::atomic<int> num_wrong{0};
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < kRanks; ++rank) {
    ranks.emplace_back([&, rank] {
      for (int round = 0; round < kRounds; ++round) {
        // Ranks bring lists of different lengths.
        std::vector<double> mine(static_cast<std::size_t>(rank + 1), 1000.0 * round + rank);
        const auto all = transport->all_gather(rank, std::move(mine));
        for (int other = 0; other < kRanks; ++other) {
          const std::vector<double> expected(static_cast<std::size_t>(other + 1),
                                             1000.0 * round + other);
          num_wrong += all.at(static_cast<std::size_t>(other)) == expected ? 0 : 1;
        }
      }
    });
  }
  for (std::thread& rank : ranks) {
    rank.join();
  }
  EXPECT_EQ(num_wrong, 0);
}

TEST(InProcessTest, ARankAloneGathersItsOwnValues) {
  const auto transport = transport_of(1, 1);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(transport->all_gather(0, {1.5, 2.5}), (std::vector<std::vector<double>>{{1.5, 2.5}}));
  }
}

TEST(InProcessTest, SizesThatNobodyCanHaveAreOurMistake) {
  EXPECT_THROW(make_in_process_transport({.num_ranks = 0}), std::logic_error);
  EXPECT_THROW(make_in_process_transport({.num_ranks = 1, .capacity = 0}), std::logic_error);
}

}  // namespace
}  // namespace halfback
