// Where C++ meets the server's error handling.
//
// The server raises errors by longjmp, which skips destructors; a C++
// exception that leaves our code aborts the backend and resets every session.
// So every entry point is a sandwich: a server phase that has nothing with a
// destructor alive, a core phase that turns every exception into a status, and
// a server phase again. Core phases call nothing of the server.
#pragma once

#include "compat.h"

namespace unblock::server {

enum class CoreStatus { ok, out_of_memory, failed };

struct CoreError {
	CoreStatus status;
	char text[200]; // of CoreStatus::failed

	CoreError() : status(CoreStatus::ok) { text[0] = '\0'; }
};

// Runs `work` and lets no exception out. The message is copied while the exception lives and raised by
// the caller after all destructors have run.
template <class Work>
[[gnu::noinline]] CoreError run_guarded(Work& work) noexcept {
	CoreError error;
	try {
		work();
	} catch (const std::bad_alloc&) {
		error.status = CoreStatus::out_of_memory;
	} catch (const std::exception& e) {
		error.status = CoreStatus::failed;
		strlcpy(error.text, e.what(), sizeof(error.text));
	} catch (...) {
		error.status = CoreStatus::failed;
		strlcpy(error.text, "unknown exception", sizeof(error.text));
	}
	return error;
}

inline void raise(const CoreError& error) {
	if (error.status == CoreStatus::out_of_memory)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (error.status == CoreStatus::failed)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pg_unblock: %s", error.text)));
}

// A core phase. `work` captures plain data and pointers only.
template <class Work>
void core_phase(Work work) {
	static_assert(std::is_trivially_destructible_v<Work>, "captures must survive a longjmp");
	raise(run_guarded(work));
}

// A C++ object that lives as long as a memory context: the context's reset deletes it, after an error
// too. Created in a server phase (when empty) and filled in a core phase.
template <class T>
class Owned {
public:
	static Owned* in(MemoryContext context) {
		auto* owned = static_cast<Owned*>(MemoryContextAllocZero(context, sizeof(Owned)));
		owned->callback_.func = [](void* arg) {
			auto* self = static_cast<Owned*>(arg);
			delete self->object_;
			self->object_ = nullptr;
		};
		owned->callback_.arg = owned;
		MemoryContextRegisterResetCallback(context, &owned->callback_);
		return owned;
	}

	// In a core phase only: may throw what T's constructor throws, and std::bad_alloc.
	template <class... Args>
	T& make(Args&&... args) {
		object_ = new T(std::forward<Args>(args)...);
		return *object_;
	}

	T& operator*() const { return *object_; }
	T* operator->() const { return object_; }

private:
	MemoryContextCallback callback_;
	T* object_;
};

} // namespace unblock::server
