// The bytes that a layer declares are the bytes that the allocator counts, exactly.
#include "halfback/engine/memory.h"
#include "halfback/layers/linear.h"
#include "tests/support/layer_fixture.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

namespace halfback {
namespace {

constexpr int kRank = 3;

// Before the first tensor: what another allocator made is not counted.
class CountingEnvironment : public testing::Environment {
 public:
  void SetUp() override { install_counting_allocator(); }
};
[[maybe_unused]] testing::Environment* const environment =
    testing::AddGlobalTestEnvironment(std::make_unique<CountingEnvironment>().release());

class LayerMemoryTest : public LayerTest {
 protected:
  // Data belongs to the mini-batch, activations to the rank.
  at::Tensor make_input() {
    const MemoryOwner owner(case_.has_input_gradient() ? kRank : kNoRank);
    return case_.input(dtype_, random_);
  }
  SavedBytes declared() const {
    return layer_->describe({case_.input_shape}, static_cast<std::int64_t>(at::elementSize(dtype_)))
        .bytes;
  }
};

TEST_P(LayerMemoryTest, KeepsTheDeclaredBytesBetweenItsCalls) {
  ASSERT_EQ(live_bytes(kRank), 0);
  const SavedBytes bytes = declared();
  const MemoryOwner owner(kRank);
  Saved saved;
  forward_of(*layer_, make_input(), saved);
  EXPECT_EQ(live_bytes(kRank), bytes.until_input + bytes.until_weight);
  input_gradient_of(*layer_, case_.grad_output(*layer_, dtype_, random_), saved);
  EXPECT_EQ(live_bytes(kRank), bytes.until_weight + bytes.gradients);
  weight_gradients_of(*layer_, saved);
  EXPECT_EQ(live_bytes(kRank), 0);
}

TEST_P(LayerMemoryTest, KeepsAMultipleForSeveralMicroBatches) {
  ASSERT_EQ(live_bytes(kRank), 0);
  const SavedBytes bytes = declared();
  const MemoryOwner owner(kRank);
  Saved first;
  Saved second;
  for (Saved* saved : {&first, &second}) {
    forward_of(*layer_, make_input(), *saved);
  }
  EXPECT_EQ(live_bytes(kRank), 2 * (bytes.until_input + bytes.until_weight));
  for (Saved* saved : {&first, &second}) {
    input_gradient_of(*layer_, case_.grad_output(*layer_, dtype_, random_), *saved);
  }
  EXPECT_EQ(live_bytes(kRank), 2 * (bytes.until_weight + bytes.gradients));
  std::vector<Saved*> both{&first, &second};
  layer_->backward_weight(both);
  EXPECT_EQ(live_bytes(kRank), 0);
}

TEST_P(LayerMemoryTest, FreesAForwardThatIsDropped) {
  ASSERT_EQ(live_bytes(kRank), 0);
  {
    const MemoryOwner owner(kRank);
    Saved saved;
    forward_of(*layer_, make_input(), saved);
  }
  EXPECT_EQ(live_bytes(kRank), 0);
}

INSTANTIATE_TEST_SUITE_P(All, LayerMemoryTest, in_both_types(all_cases()), typed_case_name);

// One product over the rows of all micro-batches: a product a sequence would make as many
// temporaries of the weight's size as there are sequences.
TEST(ConcatenatedProductTest, MakesNoTemporariesButTheRowsSideBySide) {
  constexpr std::int64_t kWidth = 128;
  constexpr std::int64_t kNumSequences = 8;
  Linear layer("linear", {.num_inputs = kWidth, .num_outputs = kWidth});
  Random random;
  give_memory(layer.parameters(), at::kFloat, random);
  const MemoryOwner owner(kRank);
  std::array<Saved, 4> saved;
  std::vector<Saved*> all;
  for (Saved& one : saved) {
    forward_of(layer, random.normal({kNumSequences, 1, kWidth}, at::kFloat), one);
    input_gradient_of(layer, random.normal({kNumSequences, 1, kWidth}, at::kFloat), one);
    all.push_back(&one);
  }
  const std::int64_t kept = live_bytes(kRank);
  ASSERT_LT(kept, layer.parameters().front()->numel() * 4);
  reset_peak(kRank);
  layer.backward_weight(all);
  EXPECT_LE(peak_bytes(kRank), 2 * kept);
  EXPECT_EQ(live_bytes(kRank), 0);
}

}  // namespace
}  // namespace halfback
