// Checkpoints there and back, to the bit and onto other cuts, and what is said about broken ones.
#include "halfback/checkpoint/checkpoint.h"

#include "halfback/base/error.h"
#include "halfback/checkpoint/checkpoint_save.h"
#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/checkpoint/manifest.h"
#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "tests/support/checkpoints.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/small_model.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <vector>

namespace halfback::testing {
namespace {

namespace fs = std::filesystem;

const TrainingState kState{.step = 2,
                           .position = 16,
                           .seed = 0xffff'ffff'ffff'ffff,
                           .optimizer = "adamw",
                           .data_bytes = 99,
                           .gradient_groups = 6,
                           .samples_per_step = 8,
                           .options = {{"--clip", "0.5"}}};

class CheckpointTest : public ::testing::Test {
 protected:
  // A model of two stages that has trained for two steps, and its checkpoint.
  CheckpointTest() {
    for (int step = 1; step <= 2; ++step) {
      trained_->train_step(make_batches({}, step), {.number = step, .learning_rate = 1e-2});
    }
    save();
  }

  void save(const CheckpointOptions& options = {}) {
    save_checkpoint(path_, small_llama(), stages_of(*trained_), kState, options);
  }

  // Loads into another pipeline, with other values before, and compares all.
  void expect_loads_on(int num_ranks) {
    const auto other = make_pipeline({.num_ranks = num_ranks});
    load_parameters(path_, stages_of(*other));
    const TrainingState state = load_training_state(path_, stages_of(*other), "adamw");
    EXPECT_TRUE(bytes_of(*other, Buffer::Values) == bytes_of(*trained_, Buffer::Values));
    EXPECT_TRUE(state_bytes(*other) == state_bytes(*trained_));
    EXPECT_EQ(state, kState);
  }

  // Writes the tensors of a file again after a change.
  using Tensors = std::vector<NamedTensor>;
  void rewrite(const std::string& file, const std::function<void(Tensors&)>& change) const {
    Tensors tensors;
    {
      const SafetensorsFile old(path_ / file);
      for (const std::string& name : old.names()) {
        tensors.push_back({name, old.get(name).clone()});
      }
    }
    change(tensors);
    save_safetensors(path_ / file, tensors);
  }

  void edit(const std::string& file, const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json json = nlohmann::json::parse(slurp(path_ / file));
    change(json);
    spit(path_ / file, json.dump());
  }

  std::string load_error() {
    return text_of_thrown<FileError>([&] { load_parameters(path_, stages_of(*trained_)); });
  }
  std::string state_error(const std::string& optimizer = "adamw") {
    return text_of_thrown<FileError>(
        [&] { load_training_state(path_, stages_of(*trained_), optimizer); });
  }
  std::string config_error() const {
    return text_of_thrown<FileError>([&] { load_config(path_); });
  }

  TemporaryDirectory directory_;
  fs::path path_ = directory_ / "checkpoint";
  std::unique_ptr<Pipeline> trained_ = make_pipeline({.num_ranks = 2});
};

NamedTensor& tensor_of(std::vector<NamedTensor>& tensors, const std::string& name) {
  for (NamedTensor& named : tensors) {
    if (named.name == name) {
      return named;
    }
  }
  throw std::out_of_range(name);
}

constexpr const char* kKeys = "model.layers.1.self_attn.k_proj.weight";

TEST_F(CheckpointTest, GoesThereAndBackToTheBitOnAnyCut) {
  EXPECT_EQ(load_config(path_), ModelConfig(resolved(small_llama())));
  for (int num_ranks = 1; num_ranks <= 4; ++num_ranks) {
    expect_loads_on(num_ranks);
  }
  EXPECT_EQ(num_entries(path_), 5);
  EXPECT_EQ(num_entries(directory_.path()), 1);
}

TEST_F(CheckpointTest, GoesThereAndBackInManyShards) {
  save({.max_shard_bytes = 4096});
  EXPECT_FALSE(fs::exists(path_ / "model.safetensors"));
  EXPECT_TRUE(fs::exists(path_ / "model.safetensors.index.json"));
  EXPECT_TRUE(fs::exists(path_ / "training_state.safetensors.index.json"));
  EXPECT_GT(num_entries(path_), 20);
  expect_loads_on(2);
  expect_loads_on(3);
  save();
  EXPECT_EQ(num_entries(path_), 5) << "shards of the old checkpoint are left";
  expect_loads_on(1);
}

TEST_F(CheckpointTest, OneModelHasOneFileWhateverTheCut) {
  const std::string two_stages = slurp(path_ / "model.safetensors");
  const auto whole = make_pipeline({.num_ranks = 1});
  load_parameters(path_, stages_of(*whole));
  save_checkpoint(directory_ / "whole", small_llama(), stages_of(*whole), kState);
  EXPECT_TRUE(slurp(directory_ / "whole" / "model.safetensors") == two_stages);
}

TEST_F(CheckpointTest, ReplacesACheckpointButNoOtherDirectory) {
  save();
  expect_loads_on(2);
  fs::create_directory(directory_ / "other");
  spit(directory_ / "other" / "notes.txt", "mine");
  const std::string text =
      text_of_thrown<FileError>([&] { require_checkpoint_place(directory_ / "other"); });
  EXPECT_TRUE(contains(text, "other: holds files but no checkpoint.json that train has written"))
      << text;
  EXPECT_EQ(slurp(directory_ / "other" / "notes.txt"), "mine");
  EXPECT_EQ(num_entries(directory_.path()), 2);
}

TEST_F(CheckpointTest, FilesOfOthersMoveOnToTheNextOne) {
  spit(path_ / "notes.txt", "mine");
  fs::create_directory(path_ / "drafts");
  spit(path_ / "drafts" / "one", "first");
  save();
  expect_loads_on(2);
  EXPECT_EQ(slurp(path_ / "notes.txt"), "mine");
  EXPECT_EQ(slurp(path_ / "drafts" / "one"), "first");
  EXPECT_EQ(num_entries(directory_.path()), 1);
}

TEST_F(CheckpointTest, NamesATensorThatIsMissing) {
  rewrite("model.safetensors",
          [](Tensors& tensors) { tensor_of(tensors, kKeys).name = "another.name"; });
  EXPECT_TRUE(contains(load_error(), std::string("has no tensor \"") + kKeys + '"'))
      << load_error();
}

TEST_F(CheckpointTest, NamesATensorOfAnotherShape) {
  rewrite("model.safetensors", [](Tensors& tensors) {
    tensor_of(tensors, kKeys).tensor = tensor_of(tensors, kKeys).tensor.narrow(0, 0, 5).clone();
  });
  EXPECT_TRUE(contains(
      load_error(), std::string("tensor \"") + kKeys + "\" is F32 [5, 24]; expected F32 [12, 24]"))
      << load_error();
}

TEST_F(CheckpointTest, NamesATensorThatHoldsNoRealNumbers) {
  rewrite("model.safetensors", [](Tensors& tensors) {
    tensor_of(tensors, kKeys).tensor = tensor_of(tensors, kKeys).tensor.to(at::kChar);
  });
  EXPECT_TRUE(contains(load_error(), "is I8 [12, 24]; expected F32 [12, 24]")) << load_error();
}

TEST_F(CheckpointTest, NamesTensorsThatTheModelDoesNotHave) {
  rewrite("model.safetensors", [](Tensors& tensors) {
    tensors.push_back({"model.layers.0.self_attn.q_proj.bias", at::ones({24})});
    tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({3})});
  });
  EXPECT_TRUE(contains(load_error(),
                       "checkpoint: holds 1 tensor that a llama of this config.json does not have: "
                       "\"model.layers.0.self_attn.q_proj.bias\"; expected none"))
      << load_error();
}

TEST_F(CheckpointTest, ReadsTheNamesThatWrappersWrite) {
  rewrite("model.safetensors", [](Tensors& tensors) {
    for (NamedTensor& one : tensors) {
      one.name.insert(0, "module._orig_mod.");
    }
  });
  expect_loads_on(2);
  EXPECT_EQ(ModelTensors(path_, small_llama()).notes().size(), 2);
}

// What resumes is exact although the model's values are rounded.
TEST_F(CheckpointTest, ASmallerTypeKeepsTheExactValuesInTheState) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    save({.dtype = dtype});
    EXPECT_EQ(SafetensorsFile(path_ / "model.safetensors").get(kKeys).scalar_type(), dtype);
    expect_loads_on(3);
    // The next one inherits the type.
    const ModelTensors tensors(path_, small_llama());
    save({.inherited = read_inherited(path_, tensors)});
    EXPECT_EQ(SafetensorsFile(path_ / "model.safetensors").get(kKeys).scalar_type(), dtype);
    expect_loads_on(2);
  }
}

TEST_F(CheckpointTest, KeepsWhatTheRunDoesNotChange) {
  rewrite("model.safetensors", [](Tensors& tensors) {
    tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({3})});
  });
  edit("config.json", [](auto& json) {
    json["bos_token_id"] = 1;
    json["eos_token_id"] = {2, 3};
    json["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  });
  spit(path_ / "generation_config.json", "{\"top_k\": 3}");
  fs::create_directory(path_ / "additional_chat_templates");
  spit(path_ / "additional_chat_templates" / "tool.jinja", "{{ tool }}");
  const ModelTensors tensors(path_, load_config(path_));
  auto config = std::get<LlamaConfig>(load_config(path_));
  config.sequence -= 1;
  save_checkpoint(directory_ / "next", config, stages_of(*trained_), kState,
                  {.inherited = read_inherited(path_, tensors)});
  const auto json = nlohmann::json::parse(slurp(directory_ / "next" / "config.json"));
  EXPECT_EQ(json.at("bos_token_id"), 1);
  EXPECT_EQ(json.at("eos_token_id"), nlohmann::json({2, 3}));
  EXPECT_EQ(json.at("rope_scaling").at("factor"), 4.0);
  EXPECT_EQ(load_config(directory_ / "next"), ModelConfig(config));
  EXPECT_EQ(slurp(directory_ / "next" / "generation_config.json"), "{\"top_k\": 3}");
  const fs::path folder = directory_ / "next" / "additional_chat_templates";
  EXPECT_EQ(slurp(folder / "tool.jinja"), "{{ tool }}");
  require_complete(directory_ / "next");
  EXPECT_EQ(own_entries(directory_ / "next").count(folder.filename()), 1U);
  spit(folder / "mine.jinja", "");
  EXPECT_EQ(own_entries(directory_ / "next").count(folder.filename()), 0U);
  EXPECT_TRUE(SafetensorsFile(directory_ / "next" / "model.safetensors")
                  .contains("model.layers.0.self_attn.rotary_emb.inv_freq"));
}

TEST_F(CheckpointTest, SecondTensorsOfATiedHeadMustBeEqual) {
  LlamaConfig tied = small_llama();
  tied.has_tied_head = true;
  edit("config.json", [](auto& json) { json["tie_word_embeddings"] = true; });
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { ModelTensors(path_, tied); }),
                       "tensors \"lm_head.weight\" and \"model.embed_tokens.weight\" differ"));
  rewrite("model.safetensors", [](Tensors& tensors) {
    tensor_of(tensors, "lm_head.weight").tensor =
        tensor_of(tensors, "model.embed_tokens.weight").tensor;
  });
  EXPECT_FALSE(ModelTensors(path_, tied).contains("lm_head.weight"));
}

TEST_F(CheckpointTest, ANewHeadIsForWhatHasNone) {
  rewrite("model.safetensors", [](Tensors& tensors) {
    std::erase_if(tensors, [](const NamedTensor& one) { return one.name == "lm_head.weight"; });
  });
  EXPECT_TRUE(contains(load_error(), "has no head (\"lm_head.weight\" is not there): a LlamaModel"))
      << load_error();
  EXPECT_FALSE(ModelTensors(path_, small_llama(), Head::New).contains("lm_head.weight"));
  EXPECT_TRUE(
      contains(text_of_thrown<ConfigError>([&] { ModelTensors(path_, MlpConfig{}, Head::New); }),
               "a new head was asked for, and this "));
}

TEST_F(CheckpointTest, NamesAFileThatIsCutShort) {
  for (const char* file : {"model.safetensors", "training_state.safetensors"}) {
    const std::string whole = slurp(path_ / file);
    for (const std::size_t length : {whole.size() - 1, whole.size() / 2, std::size_t{5}}) {
      spit(path_ / file, whole.substr(0, length));
      const std::string text = file[0] == 'm' ? load_error() : state_error();
      EXPECT_TRUE(contains(text, std::string(file) + ": ")) << text;
      EXPECT_TRUE(contains(text, "the file is damaged or not safetensors")) << text;
    }
    spit(path_ / file, whole);
  }
}

TEST_F(CheckpointTest, NamesAShardThatIsNotThere) {
  save({.max_shard_bytes = 4096});
  for (const fs::directory_entry& entry : fs::directory_iterator(path_)) {
    if (entry.path().filename().string().rfind("model-00002", 0) == 0) {
      fs::remove(entry.path());
      break;
    }
  }
  EXPECT_TRUE(contains(load_error(), "model-00002")) << load_error();
}

TEST_F(CheckpointTest, NamesADirectoryWithoutAModel) {
  fs::remove(path_ / "model.safetensors");
  EXPECT_TRUE(contains(load_error(),
                       "checkpoint: has neither model.safetensors nor "
                       "model.safetensors.index.json; expected a model"))
      << load_error();
}

TEST_F(CheckpointTest, RefusesAConfigOfAnotherModel) {
  edit("config.json", [](auto& json) { json["model_type"] = "resnet"; });
  EXPECT_TRUE(contains(config_error(),
                       "config.json: \"model_type\" is \"resnet\"; known are llama, mistral, "
                       "qwen2, bert, mamba, and the \"architecture\" of timm for a resnet"))
      << config_error();
  edit("config.json", [](auto& json) {
    json["model_type"] = "llama";
    json["rope_scaling"] = {{"rope_type", "longrope"}, {"factor", 4.0}};
  });
  EXPECT_TRUE(contains(config_error(), "\"rope_type\" is ")) << config_error();
  spit(path_ / "config.json", "{\"model_type\": ");
  EXPECT_TRUE(contains(config_error(), "config.json")) << config_error();
  fs::remove(path_ / "config.json");
  EXPECT_TRUE(contains(config_error(), "config.json: cannot open: No such file")) << config_error();
}

TEST_F(CheckpointTest, RefusesToResumeWithoutTrainingState) {
  fs::remove(path_ / "training_state.safetensors");
  EXPECT_TRUE(contains(state_error(), "has neither training_state.safetensors nor"));
  fs::remove(path_ / "training_state.json");
  EXPECT_TRUE(contains(state_error(), "training_state.json: cannot open: No such file"))
      << state_error();
}

TEST_F(CheckpointTest, RefusesTheStateOfAnotherOptimizer) {
  EXPECT_TRUE(contains(state_error("sgd"),
                       "training_state.json: state of optimizer adamw; this run has sgd; use "
                       "--optimizer adamw"))
      << state_error("sgd");
}

TEST_F(CheckpointTest, RefusesATrainingStateThatIsNotOurs) {
  edit("training_state.json", [](auto& json) { json["version"] = 1; });
  EXPECT_TRUE(
      contains(state_error(), "version 1; expected 2; resume with the release that wrote it"));
  edit("training_state.json", [](auto& json) {
    json["version"] = 2;
    json["step"] = "two";
  });
  EXPECT_TRUE(contains(state_error(), "expected the training state that train writes"));
  edit("training_state.json", [](auto& json) { json.erase("step"); });
  EXPECT_TRUE(contains(state_error(), "expected the training state that train writes"));
  edit("training_state.json", [](auto& json) { json["step"] = -1; });
  EXPECT_TRUE(contains(state_error(), "expected the training state that train writes"));
  edit("training_state.json", [](auto& json) {
    json["step"] = 2;
    json["gradient_groups"] = 0;
  });
  EXPECT_TRUE(contains(state_error(),
                       "step 2, position 16, 0 gradient groups, 8 samples per step; expected"));
  spit(path_ / "training_state.json", "[]");
  EXPECT_TRUE(contains(state_error(), "expected the training state that train writes"));
  spit(path_ / "training_state.json", "");
  EXPECT_TRUE(contains(state_error(), "training_state.json"));
}

TEST_F(CheckpointTest, NamesAnOptimizerTensorThatIsMissing) {
  rewrite("training_state.safetensors", [](Tensors& tensors) { tensors.pop_back(); });
  EXPECT_TRUE(contains(state_error(), "checkpoint: has no tensor \"exp_avg_sq.")) << state_error();
}

TEST_F(CheckpointTest, NamesTheFirstSizeInWhichTwoModelsDiffer) {
  const auto difference = [](const std::function<void(LlamaConfig&)>& change) {
    LlamaConfig wanted = small_llama();
    change(wanted);
    return text_of_thrown<ConfigError>([&] { require_same_model(small_llama(), wanted, "c"); });
  };
  require_same_model(small_llama(), small_llama(), "c");
  EXPECT_EQ(difference([](LlamaConfig& c) { c.num_layers = 8; }),
            "c: checkpoint of another model: layers is 4 there and 8 in this run; use --layers 4 "
            "or another --checkpoint");
  EXPECT_TRUE(contains(difference([](LlamaConfig& c) { c.rope_theta = 5e5; }),
                       "rope-theta is 10000 there and 500000 in this run"));
  EXPECT_TRUE(contains(difference([](LlamaConfig& c) { c.has_tied_head = true; }),
                       "tied-head is false there and true in this run; leave out --tied-head or "));
  LlamaConfig tied = small_llama();
  tied.has_tied_head = true;
  EXPECT_TRUE(
      contains(text_of_thrown<ConfigError>([&] { require_same_model(tied, small_llama(), "c"); }),
               "add --tied-head or another --checkpoint"));
}

TEST_F(CheckpointTest, AFullDiskLeavesTheOldCheckpointAndNothingElse) {
  const SmallDisk disk;
  TinyStage tiny;
  const fs::path place = disk.path() / "checkpoint";
  save_checkpoint(place, TinyStage::config(), tiny.list(), kState);
  const std::string old = slurp(place / "model.safetensors");
  tiny.draw(2);
  spit(disk.path() / "filler", std::string(20'000, 'x'));
  const std::string text = text_of_thrown<FileError>(
      [&] { save_checkpoint(place, TinyStage::config(), tiny.list(), kState); });
  EXPECT_TRUE(contains(text, "No space left on device")) << text;
  EXPECT_EQ(num_entries(disk.path()), 2);
  EXPECT_TRUE(slurp(place / "model.safetensors") == old);
  require_complete(place);
}

}  // namespace
}  // namespace halfback::testing
