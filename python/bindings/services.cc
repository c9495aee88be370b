// What programs ask the head for: jobs, definitions, the nodes, the key-value table.

#include <nanobind/stl/string.h>
#include <unistd.h>

#include "engine/base/content_hash.h"
#include "python/bindings/module.h"
#include "python/bindings/session.h"

namespace ray_engine::python {
namespace {

std::string Text(nb::bytes bytes) { return {bytes.c_str(), bytes.size()}; }
nb::bytes Bytes(const std::string& text) { return nb::bytes(text.data(), text.size()); }

nb::bytes StartJob(const std::string& entrypoint, const std::string& name_space, nb::bytes config, bool log_to_driver) {
  const JobStarted started = CallHead<JobStarted>(
      JobStart{0, static_cast<std::uint32_t>(getpid()), entrypoint, name_space, Text(config), log_to_driver});
  TheRuntime().set_job(started.job);
  return nb::bytes(started.job.Binary().data(), JobId::kSize);
}

nb::bytes Export(const std::string&, nb::bytes blob) {
  const std::string id = ContentHash({blob.c_str(), blob.size()});
  // Waits for the reply: a worker that is leased already may ask the head for it a moment from now.
  CallHead<KvReply>(KvRequest{0, KvRequest::kPutIfAbsent, "definitions", id, Text(blob)});
  return Bytes(id);
}

nb::list Cluster() {
  nb::list nodes;
  for (const NodeInfo& node : CallHead<ClusterReply>(ClusterRequest{}).nodes) {
    nb::dict item;
    item["id"] = nb::bytes(node.id.Binary().data(), NodeId::kSize);
    item["index"] = node.index;
    item["alive"] = node.alive;
    item["hostname"] = node.hostname;
    item["address"] = node.address;
    item["name"] = node.name;
    item["death_reason"] = node.death_reason;
    item["total"] = ToDict(node.total);
    item["available"] = ToDict(node.available);
    nb::dict labels;
    for (const auto& [key, value] : node.labels) labels[nb::str(key.c_str())] = value;
    item["labels"] = labels;
    item["store_bytes"] = node.store_bytes;
    nodes.append(item);
  }
  return nodes;
}

KvReply Kv(KvRequest::Op op, const std::string& name_space, const std::string& key, const std::string& value = {}) {
  return CallHead<KvReply>(KvRequest{0, op, name_space, key, value});
}

}  // namespace

void BindServices(nb::module_& module) {
  module.def("start_job", &StartJob);
  module.def("export", &Export);
  module.def("cluster", &Cluster);
  module.def("kv_get", [](const std::string& name_space, nb::bytes key) -> nb::object {
    const KvReply reply = Kv(KvRequest::kGet, name_space, Text(key));
    return reply.found ? nb::object(Bytes(reply.values.at(0))) : nb::none();
  });
  module.def(
      "kv_put",
      [](const std::string& name_space, nb::bytes key, nb::bytes value, bool overwrite) {
        return Kv(overwrite ? KvRequest::kPut : KvRequest::kPutIfAbsent, name_space, Text(key), Text(value)).found;
      },
      nb::arg("namespace"), nb::arg("key"), nb::arg("value"), nb::arg("overwrite") = true);
  module.def("kv_del", [](const std::string& name_space, nb::bytes key) {
    return Kv(KvRequest::kDelete, name_space, Text(key)).found;
  });
  module.def("kv_exists", [](const std::string& name_space, nb::bytes key) {
    return Kv(KvRequest::kGet, name_space, Text(key)).found;
  });
  module.def("kv_list", [](const std::string& name_space, nb::bytes prefix) {
    nb::list keys;
    for (const std::string& key : Kv(KvRequest::kList, name_space, Text(prefix)).values) keys.append(Bytes(key));
    return keys;
  });
}

}  // namespace ray_engine::python
