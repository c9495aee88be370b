#include "engine/base/accelerators.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>

namespace ray_engine {
namespace {

namespace fs = std::filesystem;

constexpr AcceleratorFamily kGpus[] = {
    {"GPU", "CUDA_VISIBLE_DEVICES", "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES", "", false},
    {"GPU", "HIP_VISIBLE_DEVICES", "RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES", "", false},
    {"GPU", "ZE_AFFINITY_MASK", "RAY_EXPERIMENTAL_NOSET_ZE_AFFINITY_MASK", "", false},
};
constexpr AcceleratorFamily kOthers[] = {
    {"neuron_cores", "NEURON_RT_VISIBLE_CORES", "RAY_EXPERIMENTAL_NOSET_NEURON_RT_VISIBLE_CORES", "aws-neuron-core",
     true},
    {"TPU", "TPU_VISIBLE_CHIPS", "RAY_EXPERIMENTAL_NOSET_TPU_VISIBLE_CHIPS", "", false},
    {"NPU", "ASCEND_RT_VISIBLE_DEVICES", "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES", "", false},
    {"HPU", "HABANA_VISIBLE_MODULES", "RAY_EXPERIMENTAL_NOSET_HABANA_VISIBLE_MODULES", "", true},
    {"RBLN", "RBLN_DEVICES", "RAY_EXPERIMENTAL_NOSET_RBLN_RT_VISIBLE_DEVICES", "", true},
    {"FURIOSA", "FURIOSA_DEVICES", "RAY_EXPERIMENTAL_NOSET_FURIOSA_DEVICES", "", true},
    {"MBLT", "QBRUNTIME_VISIBLE_DEVICES", "RAY_EXPERIMENTAL_NOSET_MBLT_RT_VISIBLE_DEVICES", "", true},
    {"TTNPU", "TT_VISIBLE_DEVICES", "RAY_EXPERIMENTAL_NOSET_TENSTORRENT_VISIBLE_DEVICES", "", true},
};

constexpr char kNvidiaDevices[] = "proc/driver/nvidia/gpus";
constexpr char kAmdDevices[] = "sys/class/kfd/kfd/topology/nodes";  // CPUs are among them, with gpu_id 0

int CountNvidia(const fs::path& root) {
  std::error_code missing;
  const fs::directory_iterator devices(root / kNvidiaDevices, missing);
  return missing ? 0 : static_cast<int>(std::distance(begin(devices), end(devices)));
}

int CountAmd(const fs::path& root) {
  std::error_code missing;
  int count = 0;
  for (const fs::directory_entry& node : fs::directory_iterator(root / kAmdDevices, missing)) {
    std::uint64_t id = 0;
    std::ifstream file(node.path() / "gpu_id");
    count += file >> id && id != 0;
  }
  return count;
}

const AcceleratorFamily& GpuFamily(const Environment& environment, const fs::path& root) {
  if (CountNvidia(root) > 0) return kGpus[0];
  if (CountAmd(root) > 0) return kGpus[1];
  const auto named = std::find_if(std::begin(kGpus), std::end(kGpus),
                                  [&](const AcceleratorFamily& family) { return environment.Has(family.variable); });
  return named == std::end(kGpus) ? kGpus[0] : *named;
}

// "Model:   Tesla V100-SXM2-16GB" of the first device.
std::string NvidiaModel(const fs::path& root) {
  std::error_code missing;
  for (const fs::directory_entry& device : fs::directory_iterator(root / kNvidiaDevices, missing)) {
    std::ifstream information(device.path() / "information");
    for (std::string line; std::getline(information, line);) {
      if (line.rfind("Model:", 0) == 0) return std::string(absl::StripAsciiWhitespace(line.substr(6)));
    }
  }
  return "";
}

bool InCapitals(const std::string& word) {
  return std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isupper(c) || std::isdigit(c); });
}
bool HasDigit(const std::string& word) {
  return std::any_of(word.begin(), word.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// Of "NVIDIA RTX PRO 6000 Server" the words in capitals up to the first with a digit: "RTX-PRO-6000". A maker's mixed
// case stays as it is: "GeForce-RTX-4090".
std::string TypeOfModel(const std::string& model) {
  const std::vector<std::string> words = absl::StrSplit(model, ' ', absl::SkipEmpty());
  std::string type;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string word = words[i].substr(0, words[i].find('-'));
    if (!InCapitals(word)) break;
    type += (type.empty() ? "" : "-") + word;
    if (HasDigit(word)) return type;
  }
  if (words.size() < 2) return model;
  const auto first = words.begin() + (words[0] == "NVIDIA" ? 1 : 0);
  return absl::StrJoin(first, words.end(), "-");
}

std::vector<std::string> ReadUnitResources() {
  const Environment environment = Environment::OfThisProcess();
  std::vector<std::string> names = {"GPU"};
  if (environment.Has("RAY_custom_unit_instance_resources")) {
    const std::vector<std::string> custom =
        absl::StrSplit(environment.Get("RAY_custom_unit_instance_resources"), ',', absl::SkipEmpty());
    names.insert(names.end(), custom.begin(), custom.end());
    return names;
  }
  for (const AcceleratorFamily& family : kOthers) names.emplace_back(family.resource);
  return names;
}

}  // namespace

std::vector<AcceleratorFamily> Accelerators(const Environment& environment, const fs::path& root) {
  std::vector<AcceleratorFamily> families = {GpuFamily(environment, root)};
  families.insert(families.end(), std::begin(kOthers), std::end(kOthers));
  return families;
}

std::optional<std::vector<std::string>> VisibleIds(const AcceleratorFamily& family, const Environment& environment) {
  if (!environment.Has(family.variable)) return std::nullopt;
  const std::string list = environment.Get(family.variable);
  if (list.empty() || list == "NoDevFiles" || list == "-1") return std::vector<std::string>();
  return std::vector<std::string>(absl::StrSplit(list, ','));
}

int CountGpus(const Environment& environment, const fs::path& root) {
  const auto visible = VisibleIds(GpuFamily(environment, root), environment);
  return visible ? static_cast<int>(visible->size()) : CountNvidia(root) + CountAmd(root);
}

std::string AcceleratorType(const AcceleratorFamily& family, const fs::path& root) {
  return family.variable == kGpus[0].variable ? TypeOfModel(NvidiaModel(root)) : family.type;
}

const std::vector<std::string>& UnitResources() {
  static const auto* names = new std::vector<std::string>(ReadUnitResources());
  return *names;
}

bool IsUnitResource(std::string_view name) {
  const std::vector<std::string>& names = UnitResources();
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace ray_engine
