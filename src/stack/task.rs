//! Asynchronous drivers called from plain code.

use anyhow::Context as _;

/// Runs a future to its end on a runtime and a thread of its own, so that it
/// can also be called from inside another runtime.
///
/// # Errors
/// When the runtime cannot be built or the future panics.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::scope(|scope| scope.spawn(move || runtime.block_on(future)).join())
        .ok()
        .context("a task ended in a panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_future_runs_inside_another_runtime() {
        assert_eq!(block_on(async { 42 }).unwrap(), 42);
    }
}
