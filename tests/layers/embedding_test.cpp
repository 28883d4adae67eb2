#include "halfback/layers/embedding.h"

#include "tests/support/layer_cases.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace halfback {
namespace {

at::Tensor ids_of(const std::vector<std::int64_t>& ids) {
  at::Tensor tensor = at::empty({1, static_cast<std::int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.mutable_data_ptr<std::int64_t>());
  return tensor;
}

TEST(EmbeddingTest, PicksRowsOfItsTable) {
  Random random;
  Embedding layer("embed", {.vocabulary = 4, .num_channels = 3});
  give_memory(layer.parameters(), at::kFloat, random);
  const at::Tensor& table = layer.parameters()[0]->value;
  Saved saved;
  const at::Tensor output = forward_of(layer, ids_of({2, 0, 2}), saved);
  EXPECT_TRUE(same_bits(output[0][0], table[2]));
  EXPECT_TRUE(same_bits(output[0][1], table[0]));
  EXPECT_TRUE(same_bits(output[0][2], table[2]));
}

TEST(EmbeddingTest, AddsUpTheGradientsOfARepeatedId) {
  Random random;
  Embedding layer("embed", {.vocabulary = 4, .num_channels = 3});
  give_memory(layer.parameters(), at::kFloat, random);
  Saved saved;
  forward_of(layer, ids_of({1, 3, 1, 1}), saved);
  const at::Tensor gradient = random.normal({1, 4, 3}, at::kFloat);
  input_gradient_of(layer, gradient, saved);
  weight_gradients_of(layer, saved);
  const at::Tensor& sums = layer.parameters()[0]->gradient;
  EXPECT_TRUE(same_bits(sums[1], gradient[0][0].add(gradient[0][2]).add(gradient[0][3])));
  EXPECT_TRUE(same_bits(sums[3], gradient[0][1]));
  EXPECT_TRUE(same_bits(sums[0], at::zeros({3}, at::kFloat)));
  EXPECT_TRUE(same_bits(sums[2], at::zeros({3}, at::kFloat)));
}

// In float32 a small addend is lost behind a large one, so the order shows.
TEST(EmbeddingTest, AddsInTheOrderOfTheIds) {
  Random random;
  Embedding layer("embed", {.vocabulary = 2, .num_channels = 5});
  give_memory(layer.parameters(), at::kFloat, random);
  Saved saved;
  forward_of(layer, ids_of({1, 1, 1}), saved);
  const at::Tensor gradient = at::full({1, 3, 5}, 1e8, at::kFloat);
  gradient[0][1].fill_(1.0);
  gradient[0][2].fill_(-1e8);
  input_gradient_of(layer, gradient, saved);
  weight_gradients_of(layer, saved);
  EXPECT_TRUE(same_bits(layer.parameters()[0]->gradient[1], at::zeros({5}, at::kFloat)));
}

TEST(EmbeddingTest, ClearsRowsWithoutAnIdOnlyOnce) {
  Random random;
  Embedding layer("embed", {.vocabulary = 3, .num_channels = 2});
  give_memory(layer.parameters(), at::kFloat, random);
  const at::Tensor ones = at::full({1, 1, 2}, 1.0, at::kFloat);
  for (const std::int64_t id : {0, 2}) {
    Saved saved;
    forward_of(layer, ids_of({id}), saved);
    input_gradient_of(layer, ones, saved);
    weight_gradients_of(layer, saved);
  }
  const at::Tensor& sums = layer.parameters()[0]->gradient;
  EXPECT_EQ(sums[0].sum().item<double>(), 2.0);
  EXPECT_EQ(sums[1].sum().item<double>(), 0.0);
  EXPECT_EQ(sums[2].sum().item<double>(), 2.0);
}

}  // namespace
}  // namespace halfback
