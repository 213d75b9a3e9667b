//! Idle host threads, reused by new tasks: starting a thread costs more than waking one.

use std::sync::Arc;

use ksync::{Mutex, Waiter};

use super::{TaskCx, run::run_task};
use crate::{error::Result, locks, machine::Machine};

struct Slot {
    waiter: Waiter,
    job: Mutex<Option<TaskCx>>,
}

/// The idle threads of a machine.
pub struct ThreadPool {
    idle: Mutex<Vec<Arc<Slot>>>,
}

/// Threads kept idle at most.
const MAX_IDLE: usize = 32;

impl Default for ThreadPool {
    fn default() -> Self {
        ThreadPool { idle: Mutex::new(locks::LEAF, Vec::new()) }
    }
}

/// Starts a task's life on a host thread of its own. EAGAIN if the host has no thread left.
pub fn start_task(machine: &Arc<Machine>, cx: TaskCx) -> Result<()> {
    let idle = machine.task_threads.idle.lock().pop();
    if let Some(slot) = idle {
        *slot.job.lock() = Some(cx);
        slot.waiter.notify();
        return Ok(());
    }
    let slot = Arc::new(Slot { waiter: Waiter::new(), job: Mutex::new(locks::LEAF, Some(cx)) });
    let m = machine.clone();
    machine
        .host
        .spawn(
            "task",
            Box::new(move || {
                slot.waiter.attach();
                loop {
                    slot.waiter.clear();
                    let job = slot.job.lock().take();
                    match job {
                        Some(cx) => {
                            run_task(cx);
                            let mut idle = m.task_threads.idle.lock();
                            if idle.len() >= MAX_IDLE {
                                return;
                            }
                            idle.push(slot.clone());
                        }
                        None => {
                            slot.waiter.park(None);
                        }
                    }
                }
            }),
        )
        .map_err(|_| abi::errno::EAGAIN)
}
