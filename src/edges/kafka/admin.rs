//! Questions to the cluster that the safe wrapper does not have: how one is sent,
//! and how its answer comes back.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::stop::Stop;

/// How often a stop is looked for.
const SLICE: Duration = Duration::from_millis(100);
/// What an answer may take beyond the limit of its request.
const GRACE: Duration = Duration::from_secs(1);

/// A C object that is freed with the value.
pub(super) struct Owned<T> {
    object: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes an object that librdkafka has just made, and the function that frees
    /// it.
    pub(super) fn new(
        object: *mut T,
        free: unsafe extern "C" fn(*mut T),
    ) -> anyhow::Result<Owned<T>> {
        let object = NonNull::new(object).context("librdkafka has no memory left")?;
        Ok(Owned { object, free })
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the object came from librdkafka with this function to free it,
        // and nobody else frees it.
        #[allow(unsafe_code)]
        unsafe {
            (self.free)(self.object.as_ptr());
        }
    }
}

/// What librdkafka answered with.
pub(super) type Event = Owned<c::rd_kafka_event_t>;

/// Questions of one sort, and the queue that their answers come to; the client
/// lives at least as long.
pub(super) struct Questions<'c> {
    queue: Owned<c::rd_kafka_queue_t>,
    options: Owned<c::rd_kafka_AdminOptions_t>,
    timeout: Duration,
    client: PhantomData<&'c ()>,
}

impl<'c> Questions<'c> {
    /// Gets ready to ask through a client; an answer may take this long.
    #[allow(unsafe_code)]
    pub(super) fn new<C: ClientContext>(
        client: &'c Client<C>,
        sort: c::rd_kafka_admin_op_t,
        timeout: Duration,
    ) -> anyhow::Result<Questions<'c>> {
        let timeout_ms = c_int::try_from(timeout.as_millis())?;
        let native = client.native_ptr();
        // SAFETY: `native` lives as long as `client`, and both objects are checked
        // for null before they are used.
        unsafe {
            let queue = Owned::new(c::rd_kafka_queue_new(native), c::rd_kafka_queue_destroy)?;
            let options = Owned::new(
                c::rd_kafka_AdminOptions_new(native, sort),
                c::rd_kafka_AdminOptions_destroy,
            )?;
            let given = options.as_ptr();
            c::rd_kafka_AdminOptions_set_request_timeout(given, timeout_ms, ptr::null_mut(), 0);
            Ok(Questions { queue, options, timeout, client: PhantomData })
        }
    }

    pub(super) fn queue(&self) -> *mut c::rd_kafka_queue_t {
        self.queue.as_ptr()
    }

    pub(super) fn options(&self) -> *const c::rd_kafka_AdminOptions_t {
        self.options.as_ptr()
    }

    /// Waits for the next answer: the event, or the error that it is as a whole.
    ///
    /// # Errors
    /// When none comes in time, or a stop is requested.
    #[allow(unsafe_code)]
    pub(super) fn answer(
        &self,
        stop: Option<&Stop>,
    ) -> anyhow::Result<Result<Event, RDKafkaErrorCode>> {
        let deadline = Instant::now() + self.timeout + GRACE;
        while Instant::now() < deadline {
            if stop.is_some_and(Stop::requested) {
                bail!("stopped before an answer came");
            }
            // SAFETY: the queue lives as long as `self`; the event is checked for
            // null, and owned from there on.
            unsafe {
                let event = c::rd_kafka_queue_poll(self.queue(), SLICE.as_millis() as c_int);
                let Some(event) = NonNull::new(event) else { continue };
                let event = Owned { object: event, free: c::rd_kafka_event_destroy };
                return Ok(match failure(c::rd_kafka_event_error(event.as_ptr())) {
                    Some(error) => Err(error),
                    None => Ok(event),
                });
            }
        }
        bail!("no answer in time")
    }
}

/// The error that a code is, unless it says that all is well.
pub(super) fn failure(code: RDKafkaRespErr) -> Option<RDKafkaErrorCode> {
    (code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code.into())
}

/// A text of librdkafka's; none for null and for an empty one.
///
/// # Safety
/// Null, or a text that ends in NUL and lives during the call.
#[allow(unsafe_code)]
pub(super) unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    let text = (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) });
    text.map(|text| text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// A list of librdkafka's as a slice; empty for null.
///
/// # Safety
/// Null, or as many elements as said, which live as long as the slice is used.
#[allow(unsafe_code)]
pub(super) unsafe fn list<'a, T>(pointer: *const T, length: usize) -> &'a [T] {
    match pointer.is_null() {
        true => &[],
        // SAFETY: as the caller promises.
        false => unsafe { std::slice::from_raw_parts(pointer, length) },
    }
}
