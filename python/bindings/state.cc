// The state of the session, as rows for people: actors, jobs, workers, tasks, references, demands. The keys are the
// names of the fields in ray_engine/util/state/common.py, and what rows.py makes others from; what is not there is
// None.

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python/bindings/module.h"
#include "python/bindings/session.h"

namespace ray_engine::python {
namespace {

StateRows Ask(StateKind kind) { return CallHead<StateReply>(StateRequest{0, kind}).rows; }

nb::object OrNone(const std::string& text) { return text.empty() ? nb::object(nb::none()) : nb::cast(text); }
template <class AnyId>
nb::object HexOf(const AnyId& id) {
  return OrNone(id.IsNil() ? std::string() : id.Hex());
}
nb::object TextOf(ProcessId process) { return OrNone(process.IsNil() ? std::string() : ToString(process)); }
nb::object TimeOf(std::int64_t ms) { return ms == 0 ? nb::object(nb::none()) : nb::cast(ms); }

nb::dict Row(const ActorInfo& actor) {
  nb::dict row;
  row["actor_id"] = actor.actor.Hex();
  row["class_name"] = actor.class_name;
  row["state"] = static_cast<int>(actor.state);
  row["job_id"] = actor.job.Hex();
  row["name"] = actor.name;
  row["ray_namespace"] = actor.name_space;
  row["is_detached"] = actor.detached;
  row["node_id"] = HexOf(actor.node);
  row["pid"] = actor.pid;
  row["placement_group_id"] = HexOf(actor.group);
  row["num_restarts"] = actor.restarts;
  row["death_cause"] = OrNone(actor.cause);
  row["required_resources"] = ToDict(actor.resources);
  row["process"] = TextOf(actor.process);
  return row;
}

nb::dict Row(const JobSummary& job) {
  nb::dict row;
  row["job_id"] = job.job.Hex();
  row["entrypoint"] = job.entrypoint;
  row["ray_namespace"] = job.name_space;
  row["driver_pid"] = job.pid;
  row["start_time"] = job.started_ms;
  row["end_time"] = TimeOf(job.ended_ms);
  return row;
}

nb::dict Row(const WorkerInfo& worker) {
  nb::dict row;
  row["worker_id"] = worker.worker.Hex();
  row["is_driver"] = worker.driver;
  row["is_alive"] = worker.alive;
  row["node_id"] = worker.node.Hex();
  row["job_id"] = HexOf(worker.job);
  row["pid"] = worker.pid;
  row["exit_type"] = static_cast<int>(worker.exit);
  row["exit_detail"] = OrNone(worker.cause);
  row["process"] = TextOf(worker.process);
  return row;
}

nb::dict Row(const TaskInfo& task) {
  nb::dict row;
  row["task_id"] = task.task.Hex();
  row["parent_task_id"] = HexOf(task.parent);
  row["job_id"] = task.job.Hex();
  row["actor_id"] = HexOf(task.actor);
  row["name"] = task.name;
  row["state"] = static_cast<int>(task.state);
  row["attempt_number"] = task.attempt;
  row["process"] = TextOf(task.process);
  row["error_message"] = nb::bytes(task.error.data(), task.error.size());
  row["started_ns"] = task.started_ns;
  row["ended_ns"] = task.ended_ns;
  row["args_us"] = task.args_us;
  row["results_us"] = task.results_us;
  return row;
}

nb::dict Row(const ReferenceInfo& reference) {
  nb::dict row;
  row["object_id"] = reference.object.Hex();
  row["process"] = TextOf(reference.holder);
  row["owner"] = TextOf(reference.owner);
  row["object_size"] = reference.size;
  row["ready"] = reference.ready;
  row["is_stored"] = reference.stored;
  row["actor_handle"] = reference.actor_handle;
  row["local_references"] = reference.local;
  row["submitted"] = reference.submitted;
  row["contained"] = reference.contained;
  row["borrowers"] = reference.borrowers;
  row["nodes"] = nb::cast(reference.nodes);
  row["call_site"] = reference.call_site;
  return row;
}

nb::dict Row(const DemandInfo& demand) {
  nb::dict row;
  row["resources"] = ToDict(demand.resources);
  row["count"] = demand.count;
  row["need"] = demand.need;
  row["refusals"] = demand.refusals;
  return row;
}

nb::dict Row(const FabricStats& network) {
  nb::dict row;
  row["messages_sent"] = network.frames_sent;
  row["messages_received"] = network.frames_received;
  row["batches_sent"] = network.batches_sent;
  row["batches_received"] = network.batches_received;
  row["object_bytes_sent"] = network.bulk_bytes_sent;
  row["object_bytes_received"] = network.bulk_bytes_received;
  row["dropped_unauthenticated"] = network.dropped_unauthenticated;
  row["dropped_malformed"] = network.dropped_malformed;
  row["dropped_unreachable"] = network.dropped_unreachable;
  row["nodes_lost"] = network.peers_lost;
  return row;
}

nb::dict Row(const StoreInfo& store) {
  nb::dict row;
  row["node_id"] = store.node.Hex();
  row["size"] = store.size;
  row["used"] = store.used;
  row["primary"] = store.primary;
  row["secondary"] = store.secondary;
  row["pinned"] = store.pinned;
  row["objects"] = store.objects;
  row["spilled"] = store.spilled;
  row["spilled_objects"] = store.spilled_objects;
  row["restored"] = store.restored;
  row["restored_objects"] = store.restored_objects;
  row["on_disk"] = store.on_disk;
  row["on_disk_objects"] = store.on_disk_objects;
  row["file_size"] = store.file;
  row["spill_s"] = static_cast<double>(store.spill_ns) / 1e9;
  row["restore_s"] = static_cast<double>(store.restore_ns) / 1e9;
  row["creates_queued"] = store.creates_queued;
  row["fetches_queued"] = store.fetches_queued;
  row["in_chunks"] = store.in_chunks;
  row["in_arrays"] = store.in_arrays;
  row["free_ranges"] = store.free_ranges;
  row["largest_free"] = store.largest_free;
  row["resident"] = store.resident;
  row["page_tables"] = store.page_tables;
  row["processes"] = store.processes;
  row["directory"] = store.directory;
  row["pulled_objects"] = store.pulled_objects;
  row["pulls_failed"] = store.pulls_failed;
  row["served_objects"] = store.served_objects;
  row["sent_on"] = store.sent_on;
  row["links"] = store.links;
  row["network"] = Row(store.network);
  row["problem"] = store.problem;
  return row;
}

// (object in hex, index of the node that has it on disk alone)
nb::tuple Row(const SpilledInfo& spilled) { return nb::make_tuple(spilled.object.Hex(), spilled.node); }

template <class Rows>
nb::list ToList(const Rows& rows) {
  nb::list list;
  for (const auto& row : rows) list.append(Row(row));
  return list;
}

}  // namespace

void BindState(nb::module_& module) {
  module.def("actor_rows", [] { return ToList(Ask(StateKind::kActors).actors); });
  module.def("job_rows", [] { return ToList(Ask(StateKind::kJobs).jobs); });
  module.def("worker_rows", [] { return ToList(Ask(StateKind::kWorkers).workers); });
  module.def("demand_rows", [] { return ToList(Ask(StateKind::kDemands).demands); });
  module.def("reference_rows", [] { return ToList(Ask(StateKind::kReferences).references); });
  module.def("store_rows", [] { return ToList(Ask(StateKind::kStores).stores); });
  module.def("spilled_rows", [] { return ToList(Ask(StateKind::kSpilled).spilled); });
  module.def("own_references", [] { return ToList(TheRuntime().References()); });
  module.def("own_tasks", [] { return ToList(TheRuntime().Tasks()); });
  module.def("task_rows", [] { return ToList(Ask(StateKind::kTasks).tasks); });
}

}  // namespace ray_engine::python
