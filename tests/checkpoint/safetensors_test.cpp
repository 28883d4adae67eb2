#include "halfback/checkpoint/safetensors.h"

#include "halfback/base/error.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <array>

namespace halfback {
namespace {

constexpr std::array kDtypes = {
    at::kBool,   at::kByte,          at::kChar,        at::kShort,       at::kUInt16,   at::kInt,
    at::kUInt32, at::kLong,          at::kUInt64,      at::kHalf,        at::kBFloat16, at::kFloat,
    at::kDouble, at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kComplexFloat};

std::vector<NamedTensor> of_all_dtypes() {
  std::vector<NamedTensor> tensors;
  for (const at::ScalarType dtype : kDtypes) {
    tensors.push_back({std::string(c10::toString(dtype)), at::arange(6).reshape({2, 3}).to(dtype)});
  }
  return tensors;
}

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         a.contiguous().view(at::kByte).equal(b.contiguous().view(at::kByte));
}

class SafetensorsTest : public testing::Test {
 protected:
  std::filesystem::path save(const std::vector<NamedTensor>& tensors) {
    save_safetensors(directory_ / "m.safetensors", tensors);
    return directory_ / "m.safetensors";
  }

  TemporaryDirectory directory_;
};

TEST_F(SafetensorsTest, ReadsBackEachDtype) {
  const std::vector<NamedTensor> tensors = of_all_dtypes();
  const SafetensorsFile file(save(tensors));
  EXPECT_EQ(file.names().size(), tensors.size());
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const NamedTensor& named : tensors) {
    EXPECT_TRUE(same_bytes(file.get(named.name), named.tensor)) << named.name;
  }
}

TEST_F(SafetensorsTest, WritesStridedEmptyScalarAndConjugatedTensors) {
  const at::Tensor strided = at::randn({4, 6}).t();
  const at::Tensor conjugated = at::randn({3}, at::kComplexFloat).conj();
  const at::Tensor with_grad = at::randn({3}).requires_grad_();
  const SafetensorsFile file(save({{"bool", at::zeros({3}, at::kBool)},
                                   {"strided", strided},
                                   {"empty", at::empty({0, 5})},
                                   {"scalar", at::tensor(2.5, at::kDouble)},
                                   {"conjugated", conjugated},
                                   {"with_grad", with_grad}}));
  EXPECT_TRUE(file.get("strided").equal(strided));
  EXPECT_EQ(file.get("empty").sizes(), (at::IntArrayRef{0, 5}));
  EXPECT_EQ(file.get("scalar").item<double>(), 2.5);
  EXPECT_TRUE(file.get("conjugated").equal(conjugated.resolve_conj()));
  EXPECT_TRUE(file.get("with_grad").equal(with_grad));
  EXPECT_EQ(file.names().back(), "bool");  // narrowest last
}

TEST_F(SafetensorsTest, AViewOutlivesItsFile) {
  const at::Tensor saved = at::randn({100});
  at::Tensor view;
  {
    const SafetensorsFile file(save({{"a", saved}}));
    view = file.get("a");
  }
  std::filesystem::remove(directory_ / "m.safetensors");
  EXPECT_TRUE(view.equal(saved));
}

TEST_F(SafetensorsTest, CopiesWhatIsNotAligned) {
  const at::Tensor saved = at::arange(3, at::kFloat);
  const std::string header =
      write_safetensors_header({{"a", "U8", {1}, 0, 1}, {"b", "F32", {3}, 1, 13}}, {});
  spit(directory_ / "m",
       header + "x" + std::string(static_cast<const char*>(saved.data_ptr()), 12));
  EXPECT_TRUE(SafetensorsFile(directory_ / "m").get("b").equal(saved));
}

TEST_F(SafetensorsTest, SuggestsANameForAMissingTensor) {
  const SafetensorsFile file(save({{"layers.0.wq", at::zeros({2})}, {"norm", at::zeros({2})}}));
  const std::string text = text_of_thrown<FileError>([&] { file.get("layers.0.wk"); });
  EXPECT_TRUE(contains(text,
                       "m.safetensors: has no tensor \"layers.0.wk\" (did you mean "
                       "layers.0.wq?); it holds 2 tensors"))
      << text;
  EXPECT_TRUE(file.contains("norm"));
  EXPECT_FALSE(file.contains("layers.0.wk"));
}

TEST_F(SafetensorsTest, ExpectsShapeAndDtype) {
  const SafetensorsFile file(save({{"a", at::zeros({2, 3})}}));
  EXPECT_EQ(file.expect("a", {2, 3}, at::kFloat).numel(), 6);
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] {
                 file.expect("a", {3, 2}, at::kFloat);
               }),
               "tensor \"a\" is F32 [2, 3]; expected F32 [3, 2]; check that the file belongs"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] {
                         file.expect("a", {2, 3}, at::kHalf);
                       }),
                       "is F32 [2, 3]; expected F16 [2, 3]"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { file.expect("b", {1}, at::kHalf); }),
                       "has no tensor \"b\""));
}

TEST_F(SafetensorsTest, RefusesDtypesAndBoolsThatTorchCannotHold) {
  spit(directory_ / "f4", write_safetensors_header({{"a", "F4", {2}, 0, 1}}, {}) + "x");
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { SafetensorsFile(directory_ / "f4").get("a"); }),
               "tensor \"a\" is F4, which torch does not have"));
  spit(directory_ / "bool", write_safetensors_header({{"a", "BOOL", {2}, 0, 2}}, {}) + "\x01\x02");
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { SafetensorsFile(directory_ / "bool").get("a"); }),
               "tensor \"a\": BOOL element 1 is 2; expected 0 or 1"));
}

TEST_F(SafetensorsTest, RefusesToSaveWhatTheFormatDoesNotHave) {
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] {
                         save({{"a", at::zeros({1}, at::kComplexDouble)}});
                       }),
                       "tensor \"a\" is ComplexDouble, which safetensors does not have"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] {
                         save({{"a", at::zeros({1})}, {"a", at::zeros({1})}});
                       }),
                       "tensor name \"a\" is taken"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] {
                         save({{"__metadata__", at::zeros({1})}});
                       }),
                       "\"__metadata__\" is taken"));
  EXPECT_EQ(num_entries(directory_.path()), 0);
}

TEST_F(SafetensorsTest, RefusesDamagedFiles) {
  const std::filesystem::path path = save({{"a", at::zeros({100})}});
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { SafetensorsFile file(path); }),
               "the header describes 400 bytes of data, the file has 399; the file is cut"));
  spit(path, "");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { SafetensorsFile file(path); }), "0 bytes"));
}

TEST_F(SafetensorsTest, LeavesNoPartOfAFileOnAFullDisk) {
  const SmallDisk disk;
  const std::string text = text_of_thrown<FileError>([&] {
    save_sharded(disk.path(), "model", {{"a", at::zeros({100'000})}}, 1 << 30);
  });
  EXPECT_TRUE(contains(text, "model.safetensors: cannot write: No space left on device")) << text;
  EXPECT_EQ(num_entries(disk.path()), 0);
}

std::vector<NamedTensor> four_tensors() {
  return {{"a", at::randn({10})},
          {"b", at::randn({10})},
          {"c", at::randn({30})},
          {"d", at::randn({1})}};
}

TEST_F(SafetensorsTest, WritesOneFileUnderTheLimit) {
  save_sharded(directory_.path(), "model", four_tensors(), 1 << 20);
  EXPECT_EQ(num_entries(directory_.path()), 1);
  EXPECT_EQ(SafetensorsDirectory(directory_.path()).names().size(), 4U);
}

TEST_F(SafetensorsTest, WritesShardsAndTheirIndex) {
  const std::vector<NamedTensor> tensors = four_tensors();
  save_sharded(directory_.path(), "model", tensors, 80);
  EXPECT_EQ(num_entries(directory_.path()), 4);
  const auto index = nlohmann::json::parse(slurp(directory_ / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 204);
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["d"], "model-00003-of-00003.safetensors");
  const SafetensorsDirectory reader(directory_.path());
  EXPECT_EQ(reader.names(), (std::vector<std::string>{"a", "b", "c", "d"}));
  for (const NamedTensor& named : tensors) {
    EXPECT_TRUE(reader.expect(named.name, named.tensor.sizes(), at::kFloat).equal(named.tensor));
  }
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { reader.get("e"); }), "has no tensor \"e\""));
}

TEST_F(SafetensorsTest, MixesNoTwoModels) {
  save_sharded(directory_.path(), "model", four_tensors(), 80);
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] {
                         save_sharded(directory_.path(), "model", four_tensors(), 1 << 20);
                       }),
                       "already; expected no earlier files of this model"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>(
                           [&] { save_sharded(directory_ / "none", "model", four_tensors(), 80); }),
                       "none: cannot read: No such file"));
}

TEST_F(SafetensorsTest, RefusesAHostileIndex) {
  save_safetensors(directory_ / "part.safetensors", {{"a", at::zeros({1})}});
  const auto error_of = [&](const std::string& json) {
    spit(directory_ / "model.safetensors.index.json", json);
    return text_of_thrown<FileError>([&] { SafetensorsDirectory reader(directory_.path()); });
  };
  const auto error_of_file = [&](const std::string& file) {
    return error_of(R"({"weight_map":{"a":)" + file + "}}");
  };
  for (const char* file : {R"("../part.safetensors")", R"("/etc/passwd")", R"("sub/part")", R"("")",
                           R"("..")", R"("a\\b")", R"("a\u0000b")", "7", "null"}) {
    EXPECT_TRUE(contains(error_of_file(file), "expected the name of a file in the same directory"))
        << file;
  }
  EXPECT_TRUE(contains(error_of_file(R"("gone.safetensors")"), "gone.safetensors: cannot open"));
  EXPECT_TRUE(
      contains(error_of(R"({"weight_map":{"z":"part.safetensors"}})"),
               "tensor \"z\" should be in \"part.safetensors\", which does not contain it"));
  EXPECT_TRUE(contains(error_of("[]"), "has no weight_map"));
  EXPECT_TRUE(contains(error_of("{\"weight_map\":[]}"), "has no weight_map"));
  EXPECT_TRUE(contains(error_of(std::string(100'000, '[')), "nests deeper"));
  EXPECT_TRUE(contains(error_of(R"({"weight_map":{"a":"part.safetensors","a":"b"}})"), "twice"));
}

TEST_F(SafetensorsTest, EveryTensorLiesWhereTheIndexListsIt) {
  save_safetensors(directory_ / "1", {{"a", at::zeros({1})}, {"b", at::zeros({1})}});
  save_safetensors(directory_ / "2", {{"c", at::zeros({1})}, {"a", at::zeros({1})}});
  const auto error_of = [&](const std::string& json) {
    spit(directory_ / "model.safetensors.index.json", "{\"weight_map\":{" + json + "}}");
    return text_of_thrown<FileError>([&] { SafetensorsDirectory reader(directory_.path()); });
  };
  EXPECT_TRUE(contains(error_of(R"("a":"1")"), "tensor \"b\" lies in \"1\" and is listed in none"));
  EXPECT_TRUE(contains(error_of(R"("a":"1","b":"1","c":"2")"),
                       "tensor \"a\" lies in \"2\" and is listed in another; expected every"));
}

TEST_F(SafetensorsTest, WholeNumbersAreForCounts) {
  const SafetensorsFile file(
      save({{"count", at::zeros({}, at::kInt)}, {"weight", at::zeros({2}, at::kLong)}}));
  EXPECT_EQ(file.expect_number("count", {}, at::kFloat).scalar_type(), at::kInt);
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { file.expect_number("weight", {2}, at::kFloat); }),
               "tensor \"weight\" is I64 [2]; expected F32 [2]"));
}

TEST_F(SafetensorsTest, SaysWhatADirectoryLacks) {
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { SafetensorsDirectory reader(directory_.path()); }),
               "has neither model.safetensors nor model.safetensors.index.json"));
}

}  // namespace
}  // namespace halfback
