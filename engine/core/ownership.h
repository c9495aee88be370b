// Ownership: which objects this process owns or borrows, and who must know when a reference comes or goes.
//
// The protocol, in full in docs/design.md:
//   1. The owner of an object counts, per borrowing process, how many grants it has given. An object is freed when
//      nothing here holds it and all grants have come back.
//   2. A reference that arrives inside a message is safe as long as its custodian keeps it: the submitter of the task
//      whose argument it came in, or the object it was read from. Nothing is sent for it.
//   3. Before a custodian lets go (the task's reply, or the release of the outer object), a process that still holds
//      the reference registers with the owner (BorrowAdd) and has the acknowledgement, unless custodian and owner are
//      the same process: then the order of frames says as much.
//   4. A reference inside a result has no custodian at the receiver: the sender grants it to the receiver first (its
//      own count, or BorrowAdd on the receiver's behalf, acknowledged before the reply leaves).
//   5. A reference whose owner sends it carries the place of the object, if that is known, lies in a store and contains
//      no references. The receiver may pin it there without a question: pinning is the proof that the hint is true.
//      Where it fails, or anything else is wanted than the value, the owner is asked.
//   6. A borrower gives back exactly the grants it received (BorrowRemove with counts), so a grant that is on its way
//      is never lost.
// A stored value that is lost is replaced by another copy, or made again (Lose). An object that only the lineage of
// others needs keeps its entry, not its value.
// Everything about a dead process is forgotten when ProcessGone arrives.
//
// Pure state machine: speaks only through its Sender and Listener. Thread-compatible (the runtime's lock).

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/object_entry.h"
#include "engine/core/sender.h"
#include "engine/core/slab.h"
#include "engine/wire/task_spec.h"

namespace ray_engine {

class Ownership {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnObjectReady(ObjectEntry* entry) = 0;
    // An own object was freed. For the actor whose handles it counts.
    virtual void OnObjectFreed(const ObjectId& object) = 0;
    // An own object that counts the handles of an actor has faded.
    virtual void OnHandleFaded(const ObjectId&) {}
    // All copies of an own object are lost, or it is recalled. Returns nothing if it is being made again or is there,
    // else the error it becomes.
    virtual std::optional<WireValue> OnObjectLost(ObjectEntry*, const std::string& reason) {
      return SystemError("ObjectLostError", reason);
    }
    // An own object with lineage goes.
    virtual void OnLineageUnneeded(const ObjectEntry&) {}
    // An own object goes that is an exception of the program's, and nobody has seen it.
    virtual void OnErrorUnseen(const ObjectEntry&) {}
  };

  Ownership(Sender* sender, Listener* listener) : sender_(sender), listener_(listener) {}
  Ownership(const Ownership&) = delete;

  // ---- local -------------------------------------------------------------------------------------------------------

  // A new own object without a value, held once.
  ObjectEntry* NewOwned(const ObjectId& id);
  ObjectEntry* Find(const ObjectId& id) const;
  void Hold(ObjectEntry* entry) { ++entry->holds; }
  void Drop(ObjectEntry* entry);
  // The object's value has arrived or been made. Consumes `value`; its references become contained entries.
  // Does nothing if there is a value already.
  void SetValue(ObjectEntry* entry, WireValue value);
  // The same for a value made here, whose contained entries are at hand (their holds are taken over).
  void SetLocalValue(ObjectEntry* entry, WireValue value, std::vector<ObjectEntry*> contained);
  // Where the value lies, as far as it is known or said to.
  static std::optional<StorePlace> StorePlaceOf(const ObjectEntry& entry);
  // The value lies where it was said to: it has been pinned. Does nothing if it is known anyway.
  void ConfirmHint(ObjectEntry* entry);
  // It does not, or not any more.
  static void DropHint(ObjectEntry* entry);
  // Asks the owner for the value of a borrowed object, once; `lost_at`: a node where it is not.
  void RequestValue(ObjectEntry* entry, std::uint32_t lost_at = kNoNode, const std::string& reason = "");
  // A stored value that is ready cannot be had on that node, for that reason. Another copy takes its place, or it is
  // made again and not ready until then, or it becomes an error; of a borrowed object the owner decides.
  void Lose(ObjectEntry* entry, std::uint32_t node, const std::string& reason);
  // A lost own object is made again, or becomes the error that says why not. REQUIRES: it is not ready.
  void Remake(ObjectEntry* entry, const std::string& reason);
  // An object that may be needed to make another again is kept in mind, without its value once nothing else holds it.
  void HoldLineage(ObjectEntry* entry) { ++entry->Extra().lineage_holds; }
  void DropLineage(ObjectEntry* entry);
  // Holds an object that is kept in mind; it is made again if its value is gone, be it that the program gave it up.
  void Recall(ObjectEntry* entry);
  // The value goes though references to it are held: whoever reads it from now on is told so. An object that is not
  // there yet, or is an error, stays as it is.
  void Free(ObjectEntry* entry);

  // ---- references in messages --------------------------------------------------------------------------------------

  // The form in which a reference travels.
  WireRef Export(ObjectEntry* entry);
  // A reference has arrived: its entry, held once for the caller.
  ObjectEntry* Receive(const WireRef& ref, bool granted);
  // The same for all references of a task's arguments, in order. CloseScope() drops them.
  std::vector<ObjectEntry*> ReceiveArgs(const TaskView& task);
  // A result came that nobody waits for: gives back what was granted with it.
  void Refuse(const WireValue& value);
  // The value as it is sent to a process that holds the object (rule 2), which thereby sees it.
  WireValue ValueOf(ObjectEntry* entry);
  // Grants what is inside a result to its receiver (rule 4). Fills value->refs and value->granted.
  void GrantContained(const std::vector<ObjectEntry*>& contained, ProcessId receiver, WireValue* value);
  // Drops the holds a task had on the references that came with its arguments, and registers what is still held (rule
  // 3).
  void CloseScope(const std::vector<ObjectEntry*>& received);
  // Registers a reference that has no custodian (it was pickled outside of the protocol).
  void RegisterNow(ObjectEntry* entry) { Register(entry); }
  // Sends after every registration made so far is acknowledged (rule 3), in order per receiver.
  void SendGuarded(ProcessId to, MessageType type, std::string payload, bool prompt);

  // ---- events ------------------------------------------------------------------------------------------------------

  void On(ProcessId from, const BorrowAdd& message);
  void On(const BorrowAck& message);
  void On(ProcessId from, const BorrowRemove& message);
  void On(ProcessId from, const ValueRequest& message);
  void On(const ValueReply& message);
  void On(const CopyAdded& message);
  void On(const StoreFree& message);  // a borrower asks for Free()
  void OnProcessGone(ProcessId process, const std::string& cause);
  bool IsOwn(const ObjectEntry& entry) const { return entry.owner == sender_->self(); }
  bool IsGone(ProcessId process) const { return gone_.contains(process); }
  // Sends what was collected. Call about every 10 ms while NeedsFlush().
  void Flush();
  bool NeedsFlush() const { return !removals_.empty(); }

  struct Counts {
    std::size_t table = 0, entries = 0, unacknowledged = 0, guarded = 0;
  };
  Counts Stats() const { return {table_.size(), count_, unacknowledged_.size(), guarded_count_}; }

  // Of this process.
  template <class F>
  void ForEach(F&& f) const {
    entries_.ForEach(f);
  }

 private:
  struct Guarded {
    std::uint64_t barrier;  // wait for the tokens below it
    MessageType type;
    std::string payload;
    bool prompt;
  };

  ObjectEntry* Create(const ObjectId& id, ProcessId owner);
  ObjectEntry* ReceiveStored(const ArgView& arg);
  void Release(ObjectEntry* entry);  // nothing here holds it any more
  void ReleaseOwned(ObjectEntry* entry);
  void ReleaseBorrowed(ObjectEntry* entry);
  void Delete(ObjectEntry* entry);
  void DropContained(ObjectEntry* entry);
  void FreeCopies(ObjectEntry* entry);
  void Fade(ObjectEntry* entry);
  void Revive(ObjectEntry* entry);
  void ReleaseContained(ObjectEntry* entry);
  void LoseOwned(ObjectEntry* entry, std::uint32_t node, const std::string& reason);
  void Announce(ObjectEntry* entry);
  void CallBack();
  void Register(ObjectEntry* entry);  // rule 3
  std::uint64_t SendBorrowAdd(ObjectEntry* entry, ProcessId borrower);
  void AddCopy(ObjectEntry* entry, std::uint32_t node);
  void TakeSecondCopy(ObjectEntry* entry, std::uint32_t node);
  void AddBorrower(ObjectEntry* entry, ProcessId borrower, std::uint32_t count);
  bool RemoveBorrower(ObjectEntry* entry, ProcessId borrower, std::uint32_t count);
  void WatchOnce(ProcessId process);
  bool BlockedBy(ProcessId to, std::uint64_t barrier) const;
  void SendUnblocked();

  Sender* sender_;
  Listener* listener_;
  Slab<ObjectEntry> entries_;
  std::size_t count_ = 0;
  absl::flat_hash_map<ObjectId, ObjectEntry*> table_;  // those whose reference has left or arrived
  std::vector<ObjectEntry*> to_release_;               // work list: releasing may release more
  bool releasing_ = false;
  std::vector<ObjectEntry*> to_revive_;  // likewise
  bool reviving_ = false;
  // Likewise: who was told may tell more.
  std::deque<std::pair<ObjectEntry*, std::function<void(ObjectEntry*)>>> to_call_;
  bool calling_ = false;
  std::uint64_t next_token_ = 1;
  std::map<std::uint64_t, ProcessId> unacknowledged_;  // BorrowAdd tokens, to whom
  absl::flat_hash_map<ProcessId, std::deque<Guarded>> guarded_;
  std::size_t guarded_count_ = 0;
  absl::flat_hash_map<ProcessId, BorrowRemove> removals_;
  std::size_t removal_count_ = 0;
  absl::flat_hash_set<ProcessId> watched_;
  absl::flat_hash_set<ProcessId> gone_;
};

}  // namespace ray_engine
