// Whose tensor each of a published BERT's is.
#include "halfback/checkpoint/model_tensors.h"

#include "halfback/base/error.h"
#include "halfback/checkpoint/bert_json.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace halfback::testing {
namespace {

constexpr const char* kNorm = "bert.embeddings.LayerNorm.weight";

class ModelTensorsTest : public ::testing::Test {
 protected:
  // All tensors of a BERT under their names, of one number each.
  ModelTensorsTest() {
    for (const StageLayers& stage : build_model(config_, {static_cast<int>(config_.num_layers)})) {
      for (const Parameter* const parameter : stage.parameters()) {
        for (const NamedRows& rows : parameter->checkpoint_rows) {
          add(rows.name);
        }
        if (parameter->checkpoint_rows.empty() && !parameter->is_copy) {
          add(parameter->name);
        }
      }
    }
  }

  void add(const std::string& name, const at::Tensor& tensor = at::ones({1})) {
    tensors_.push_back({name, tensor});
  }

  ModelTensors read(Head head = Head::Stored) const {
    save_safetensors(directory_ / "model.safetensors", tensors_);
    return ModelTensors(directory_.path(), config_, head);
  }
  std::string refusal() const {
    return text_of_thrown<FileError>([&] { read(); });
  }

  TemporaryDirectory directory_;
  BertConfig config_{.num_layers = 1, .width = 4, .num_heads = 1, .hidden = 4, .sequence = 4};
  std::vector<NamedTensor> tensors_;
};

TEST_F(ModelTensorsTest, TwoNamesOfOneTensorAreRefused) {
  EXPECT_TRUE(read().contains(kNorm));
  add("bert.embeddings.LayerNorm.gamma");
  EXPECT_TRUE(contains(refusal(), "bert.embeddings.LayerNorm.")) << refusal();
  EXPECT_TRUE(contains(refusal(), "are two names of one; expected one of them")) << refusal();
}

TEST_F(ModelTensorsTest, AHeadThatDiffersFromTheTableCannotBeUntied) {
  add("cls.predictions.decoder.weight", at::zeros({1}));
  EXPECT_TRUE(contains(refusal(), "take the first out, which a tied model does not use"));
}

TEST_F(ModelTensorsTest, ANewHeadTakesThePlaceOfThatOfAnotherTask) {
  std::erase_if(tensors_, [](const NamedTensor& one) { return one.name.starts_with("cls."); });
  add("classifier.weight");
  add("classifier.bias");
  EXPECT_TRUE(contains(refusal(), "use --new-head to train a new one"));
  const ModelTensors tensors = read(Head::New);
  EXPECT_TRUE(tensors.contains(kNorm));
  ASSERT_EQ(tensors.notes().size(), 1U);
  EXPECT_TRUE(contains(tensors.notes()[0], "the new head takes the place of \"classifier."));
}

TEST(BertJsonTest, AHeadForAnotherTaskIsNoHead) {
  nlohmann::json json = bert_to_json({});
  EXPECT_TRUE(bert_from_json(json, "x").has_head);
  for (const char* other : {"BertModel", "BertForSequenceClassification"}) {
    json["architectures"] = {other};
    EXPECT_FALSE(bert_from_json(json, "x").has_head) << other;
  }
}

}  // namespace
}  // namespace halfback::testing
