#include "halfback/transport/membership.h"

#include <gtest/gtest.h>

#include <array>
#include <condition_variable>
#include <mutex>
#include <unistd.h>

namespace halfback {
namespace {

// A policy that takes note of a failure and goes on.
class Notes {
 public:
  Membership::Policy policy() {
    return [this](const std::string& failure) {
      const std::lock_guard lock(mutex_);
      failures_.push_back(failure);
      changed_.notify_all();
    };
  }

  // Waits for the first one.
  std::string first() {
    std::unique_lock lock(mutex_);
    const auto is_there = [this] { return !failures_.empty(); };
    return changed_.wait_for(lock, std::chrono::seconds(60), is_there) ? failures_.front() : "none";
  }

  std::size_t count() const { return failures_.size(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> failures_;
};

// Two processes that are memberships of this one.
class MembershipTest : public ::testing::Test {
 protected:
  MembershipTest() {
    for (const std::size_t process : {0, 1}) {
      connect()->set(keys_[process], kFirstHeartbeat);
    }
  }

  std::unique_ptr<StoreClient> connect() const {
    return std::make_unique<StoreClient>("127.0.0.1", server_.port(), std::chrono::seconds(30));
  }

  std::unique_ptr<Membership> join(std::size_t process,
                                   Notes& notes,
                                   double timeout_seconds = 60) const {
    return std::make_unique<Membership>(
        connect(),
        MembershipOptions{.process = process,
                          .names = {"process 0", "process 1"},
                          .heartbeat_keys = keys_,
                          .failure_key = "failure",
                          .heard_key = "heard by " + std::to_string(process),
                          .store_owner = "the test",
                          .timeout = std::chrono::duration<double>(timeout_seconds)},
        notes.policy());
  }

  const std::vector<std::string> keys_ = {"heartbeat of 0", "heartbeat of 1"};
  StoreServer server_{"127.0.0.1", 0};
  std::array<Notes, 2> notes_;
};

TEST_F(MembershipTest, AReportReachesThePolicyOfEachOnce) {
  const auto first = join(0, notes_[0]);
  const auto second = join(1, notes_[1]);
  first->on_position([] { return std::string("rank 0: position 3"); });
  const std::string failure = second->report("out of memory");
  EXPECT_TRUE(failure.starts_with("out of memory\n  process 0: ")) << failure;
  EXPECT_EQ(first->report("another one"), failure);
  for (const auto* membership : {&first, &second}) {
    EXPECT_EQ((*membership)->failure(), failure);
    EXPECT_EQ((*membership)->is_own_failure(), membership == &second);
  }
  for (Notes& notes : notes_) {
    EXPECT_EQ(notes.first(), failure);
  }
  first->end();
  second->end();
  for (const Notes& notes : notes_) {
    EXPECT_EQ(notes.count(), 1U);
  }
}

TEST_F(MembershipTest, TheSilenceOfAMemberReachesThePolicyOnce) {
  const auto first = join(0, notes_[0], 1);
  const std::string failure = notes_[0].first();
  EXPECT_TRUE(failure.starts_with(
      "process 1 has sent no heartbeat for 1 s; last known position: joining\n"))
      << failure;
  EXPECT_TRUE(first->is_own_failure());
  first->end();
  EXPECT_EQ(notes_[0].count(), 1U);
}

TEST_F(MembershipTest, TheEndOfTheStoreReachesThePolicyOnce) {
  auto server = std::make_unique<StoreServer>("127.0.0.1", 0);
  auto client =
      std::make_unique<StoreClient>("127.0.0.1", server->port(), std::chrono::seconds(30));
  client->set(keys_[0], kFirstHeartbeat);
  Membership alone(std::move(client),
                   {.names = {"process 0"},
                    .heartbeat_keys = {keys_[0]},
                    .failure_key = "failure",
                    .heard_key = "heard",
                    .store_owner = "it"},
                   notes_[0].policy());
  server.reset();
  EXPECT_TRUE(notes_[0].first().starts_with("it is gone: ")) << notes_[0].first();
  alone.end();
  EXPECT_EQ(notes_[0].count(), 1U);
}

TEST_F(MembershipTest, WhoHasLeftIsNotMissed) {
  const auto first = join(0, notes_[0]);
  auto second = join(1, notes_[1]);
  EXPECT_FALSE(first->has_left(1));
  second->leave();
  second.reset();
  while (!first->has_left(1)) {
    ::usleep(1000);
  }
  first->end();
  EXPECT_EQ(notes_[0].count() + notes_[1].count(), 0U);
}

}  // namespace
}  // namespace halfback
