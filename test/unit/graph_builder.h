// Snapshots for unit tests, written down the way one would tell them:
//
//     GraphBuilder b;
//     auto idle = b.session(101).idle_in_transaction(ago(60));
//     auto alter = b.session(102);
//     auto table = b.lock("relation public.t");
//     b.hold(table, idle, LockMode::access_share);
//     b.wait(table, alter, LockMode::access_exclusive, ago(5));
//     WaitGraph graph(b.snapshot());
//
// Sessions and locks get their indexes in the order of their making; a lock's
// queue stands in the order of the calls of wait(). The builder owns what the
// snapshot points to and has to outlive it.
#pragma once

#include "core/snapshot.h"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core::test {

// The moment of every snapshot, unless the test says otherwise.
inline constexpr Time kNow = 1'000'000 * kSecond;

constexpr Time ago(double seconds) noexcept {
	return kNow - static_cast<Time>(seconds * static_cast<double>(kSecond));
}

class GraphBuilder;

// A session under construction; converts to its index. Fields without a word of their own are set
// through ->, as in b.session(7)->masked = true.
class SessionRef {
public:
	SessionRef(GraphBuilder& builder, Index index) noexcept : builder_(&builder), index_(index) {}

	operator Index() const noexcept { return index_; }
	Session* operator->() const noexcept;

	// Runs a statement since `since`.
	SessionRef active(Time since = ago(1)) const { return in_state(State::active, Wait::other, since); }
	SessionRef idle(Time since = ago(1)) const {
		(*this)->xact_start = 0;
		return in_state(State::idle, Wait::client_read, since);
	}
	SessionRef idle_in_transaction(Time since = ago(1)) const {
		return in_state(State::idle_in_transaction, Wait::client_read, since);
	}
	SessionRef idle_in_transaction_aborted(Time since = ago(1)) const {
		(*this)->xact_start = 0;
		return in_state(State::idle_in_transaction_aborted, Wait::client_read, since);
	}
	SessionRef in_state(State state, Wait wait, Time since) const;

	SessionRef of_kind(Kind kind) const;
	SessionRef xact_start(Time start) const;
	SessionRef limits(const Limits& limits) const;
	SessionRef user(std::string_view name) const;
	SessionRef database(std::string_view name) const;
	SessionRef application(std::string_view name) const;
	SessionRef query(std::string_view text) const;

private:
	GraphBuilder* builder_;
	Index index_;
};

// A lock under construction; converts to its index.
class LockRef {
public:
	LockRef(GraphBuilder& builder, Index index) noexcept : builder_(&builder), index_(index) {}

	operator Index() const noexcept { return index_; }
	Lock* operator->() const noexcept;
	LockRef advisory() const;

private:
	GraphBuilder* builder_;
	Index index_;
};

class GraphBuilder {
public:
	GraphBuilder() = default;
	GraphBuilder(const GraphBuilder&) = delete;
	GraphBuilder& operator=(const GraphBuilder&) = delete;

	// A client in a transaction that began 100 s ago and runs a statement.
	SessionRef session(std::int32_t pid) {
		Session& made = sessions_.emplace_back();
		made.pid = pid;
		made.leader = static_cast<Index>(sessions_.size() - 1);
		made.kind = Kind::client;
		made.backend_start = ago(3600);
		made.xact_start = ago(100);
		made.query_start = ago(1);
		return SessionRef(*this, made.leader).active();
	}

	// A parallel worker in the lock group of `leader`.
	SessionRef worker_of(Index leader, std::int32_t pid) {
		SessionRef made = session(pid).of_kind(Kind::worker);
		made->leader = leader;
		return made;
	}

	SessionRef prepared(std::string_view gid) {
		SessionRef made = session(0).of_kind(Kind::prepared);
		made->backend_start = 0;
		made->query_start = 0;
		made->gid = keep(gid);
		return made.in_state(State::unknown, Wait::other, 0);
	}

	// A process without a status entry: nothing is known but its pid.
	SessionRef without_details(std::int32_t pid) {
		SessionRef made = session(pid);
		const Index self = made;
		sessions_[self] = Session{};
		sessions_[self].pid = pid;
		sessions_[self].leader = self;
		return made;
	}

	LockRef lock(std::string_view label) {
		Draft& made = locks_.emplace_back();
		made.lock.label = keep(label);
		return LockRef(*this, static_cast<Index>(locks_.size() - 1));
	}

	// Modes of one session on one lock add up.
	GraphBuilder& hold(Index lock, Index session, LockMode mode) { return hold(lock, session, bit(mode)); }
	GraphBuilder& hold(Index lock, Index session, ModeMask modes) {
		for (Holder& holder : locks_[lock].holders)
			if (holder.session == session) {
				holder.modes = static_cast<ModeMask>(holder.modes | modes);
				return *this;
			}
		locks_[lock].holders.push_back({session, modes});
		return *this;
	}

	// Puts the session at the end of the lock's queue.
	GraphBuilder& wait(Index lock, Index session, LockMode mode, Time start = ago(1)) {
		locks_[lock].queue.push_back({session, lock, mode, start});
		return *this;
	}

	// All that was told so far. Valid until the next call of snapshot() and as long as the builder lives.
	Snapshot snapshot(Time now = kNow) {
		locks_out_.clear();
		holders_out_.clear();
		waiters_out_.clear();
		for (const Draft& draft : locks_) {
			Lock lock = draft.lock;
			lock.first_holder = static_cast<Index>(holders_out_.size());
			lock.holders = static_cast<Index>(draft.holders.size());
			lock.first_waiter = static_cast<Index>(waiters_out_.size());
			lock.waiters = static_cast<Index>(draft.queue.size());
			locks_out_.push_back(lock);
			holders_out_.insert(holders_out_.end(), draft.holders.begin(), draft.holders.end());
			waiters_out_.insert(waiters_out_.end(), draft.queue.begin(), draft.queue.end());
		}
		sessions_out_.assign(sessions_.begin(), sessions_.end());
		return {now, sessions_out_, locks_out_, holders_out_, waiters_out_};
	}

	// The session's wait for that lock as an index into Snapshot::waiters; kNone if there is none.
	Index waiter(Index lock, Index session) const {
		Index index = 0;
		for (const Draft& draft : locks_)
			for (const Waiter& waiter : draft.queue) {
				if (waiter.lock == lock && waiter.session == session)
					return index;
				++index;
			}
		return kNone;
	}

	Session& at(Index session) { return sessions_[session]; }
	Lock& lock_at(Index lock) { return locks_[lock].lock; }

	// A copy of the text that lives as long as the builder.
	std::string_view keep(std::string_view text) { return texts_.emplace_back(text); }

private:
	struct Draft {
		Lock lock;
		std::vector<Holder> holders;
		std::vector<Waiter> queue;
	};

	std::deque<Session> sessions_;
	std::deque<Draft> locks_;
	std::deque<std::string> texts_;

	std::vector<Session> sessions_out_;
	std::vector<Lock> locks_out_;
	std::vector<Holder> holders_out_;
	std::vector<Waiter> waiters_out_;
};

inline Session* SessionRef::operator->() const noexcept {
	return &builder_->at(index_);
}

inline SessionRef SessionRef::in_state(State state, Wait wait, Time since) const {
	Session& self = builder_->at(index_);
	self.state = state;
	self.wait = wait;
	self.state_start = since;
	self.idle_since = since;
	return *this;
}

inline SessionRef SessionRef::of_kind(Kind kind) const {
	(*this)->kind = kind;
	return *this;
}

inline SessionRef SessionRef::xact_start(Time start) const {
	(*this)->xact_start = start;
	return *this;
}

inline SessionRef SessionRef::limits(const Limits& limits) const {
	(*this)->limits = limits;
	return *this;
}

inline SessionRef SessionRef::user(std::string_view name) const {
	(*this)->usename = builder_->keep(name);
	return *this;
}

inline SessionRef SessionRef::database(std::string_view name) const {
	(*this)->datname = builder_->keep(name);
	return *this;
}

inline SessionRef SessionRef::application(std::string_view name) const {
	(*this)->application_name = builder_->keep(name);
	return *this;
}

inline SessionRef SessionRef::query(std::string_view text) const {
	(*this)->query = builder_->keep(text);
	return *this;
}

inline Lock* LockRef::operator->() const noexcept {
	return &builder_->lock_at(index_);
}

inline LockRef LockRef::advisory() const {
	(*this)->advisory = true;
	return *this;
}

} // namespace unblock::core::test
