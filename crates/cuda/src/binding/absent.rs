//! What the rest of this crate names of cudarc, for programs that are built without it.
//!
//! No device opens there ([`IS_BUILT`](super::IS_BUILT)), so nothing of this is ever called. Every
//! call fails, and there is no value of a stream or a graph.

#![expect(unreachable_pub, reason = "errors show some of these types and nobody can name them")]

/// The driver.
pub(crate) mod driver {
    use std::convert::Infallible;
    use std::fmt;
    use std::sync::Arc;

    use sys::CUresult;

    /// What a call failed with.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DriverError(pub CUresult);

    impl fmt::Display for DriverError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:?}", self.0)
        }
    }

    impl std::error::Error for DriverError {}

    const ABSENT: DriverError = DriverError(CUresult::CUDA_ERROR_NOT_INITIALIZED);

    type Result<T = ()> = std::result::Result<T, DriverError>;

    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct CudaContext(Infallible);

    impl CudaContext {
        pub(crate) const fn new(_ordinal: usize) -> Result<Arc<Self>> {
            Err(ABSENT)
        }

        pub(crate) const unsafe fn disable_event_tracking(&self) {}

        pub(crate) const fn new_stream(&self) -> Result<Arc<CudaStream>> {
            match self.0 {}
        }

        pub(crate) const unsafe fn wrap_borrowed_stream(
            self: &Arc<Self>,
            _stream: sys::CUstream,
        ) -> Arc<CudaStream> {
            unreachable!()
        }

        pub(crate) const fn attribute(&self, _attribute: sys::CUdevice_attribute) -> Result<i32> {
            match self.0 {}
        }

        pub(crate) const fn mem_get_info(&self) -> Result<(usize, usize)> {
            match self.0 {}
        }

        pub(crate) const fn ordinal(&self) -> usize {
            match self.0 {}
        }

        pub(crate) const fn bind_to_thread(&self) -> Result {
            match self.0 {}
        }
    }

    pub struct CudaStream(Infallible);

    impl CudaStream {
        pub(crate) const fn context(&self) -> &Arc<CudaContext> {
            match self.0 {}
        }

        pub(crate) const fn cu_stream(&self) -> sys::CUstream {
            match self.0 {}
        }

        pub(crate) const fn synchronize(&self) -> Result {
            match self.0 {}
        }

        pub(crate) const fn capture_status(&self) -> Result<sys::CUstreamCaptureStatus> {
            match self.0 {}
        }

        pub(crate) const fn begin_capture(&self, _mode: sys::CUstreamCaptureMode) -> Result {
            match self.0 {}
        }

        pub(crate) const fn end_capture(
            &self,
            _flags: sys::CUgraphInstantiate_flags,
        ) -> Result<Option<CudaGraph>> {
            match self.0 {}
        }

        pub(crate) const fn join(&self, _other: &Self) -> Result {
            match self.0 {}
        }

        pub(crate) const fn record_event(&self, _flags: Option<Infallible>) -> Result<CudaEvent> {
            match self.0 {}
        }

        pub(crate) const fn wait(&self, _event: &CudaEvent) -> Result {
            match self.0 {}
        }
    }

    #[derive(Debug)]
    pub(crate) struct CudaEvent(Infallible);

    pub(crate) struct CudaGraph(Infallible);

    impl CudaGraph {
        pub(crate) const fn upload(&self) -> Result {
            match self.0 {}
        }

        pub(crate) const fn launch(&self) -> Result {
            match self.0 {}
        }
    }

    /// Types and functions of the driver's header.
    #[expect(non_camel_case_types, non_snake_case, reason = "the driver's own names")]
    pub(crate) mod sys {
        use std::ffi::{c_char, c_void};

        use super::{ABSENT, DriverError};

        pub(crate) const CU_MEMHOSTALLOC_PORTABLE: u32 = 1;
        pub(crate) const CU_MEMHOSTALLOC_DEVICEMAP: u32 = 2;

        /// A stream of the driver's.
        pub type CUstream = *mut c_void;
        pub(crate) type CUevent = *mut c_void;
        pub(crate) type CUmodule = *mut c_void;
        pub(crate) type CUfunction = *mut c_void;
        pub(crate) type CUdevice = i32;
        pub(crate) type CUmemoryPool = *mut c_void;

        macro_rules! values {
            ($(#[$meta:meta])* $type:ident: $($value:ident),+ $(,)?) => {
                $(#[$meta])*
                #[derive(Clone, Copy, Debug, PartialEq, Eq)]
                #[repr(i32)]
                pub enum $type {
                    $(#[doc = "As the driver's header has it."] $value),+
                }
            };
        }

        values! {
            /// How a call ended.
            CUresult: CUDA_SUCCESS, CUDA_ERROR_NOT_INITIALIZED, CUDA_ERROR_NO_DEVICE,
            CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_ILLEGAL_ADDRESS,
            CUDA_ERROR_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_ASSERT,
            CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ILLEGAL_INSTRUCTION,
            CUDA_ERROR_MISALIGNED_ADDRESS, CUDA_ERROR_INVALID_ADDRESS_SPACE, CUDA_ERROR_INVALID_PC,
            CUDA_ERROR_ECC_UNCORRECTABLE, CUDA_ERROR_NVLINK_UNCORRECTABLE,
            CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_UNKNOWN, CUDA_ERROR_NOT_READY,
            CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_NO_BINARY_FOR_GPU,
        }
        values! { CUevent_flags: CU_EVENT_DEFAULT, CU_EVENT_DISABLE_TIMING }
        values! { CUstreamCaptureMode: CU_STREAM_CAPTURE_MODE_THREAD_LOCAL }
        values! { CUstreamCaptureStatus: CU_STREAM_CAPTURE_STATUS_NONE }
        values! { CUpointer_attribute: CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL }
        values! { CUfunction_attribute: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES }
        values! {
            CUdevice_attribute: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        }
        values! {
            CUmemPool_attribute: CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, CU_MEMPOOL_ATTR_USED_MEM_CURRENT,
        }
        values! {
            CUtensorMapDataType: CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        }
        values! {
            CUtensorMapSwizzle: CU_TENSOR_MAP_SWIZZLE_32B,
            CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B,
        }
        values! { CUtensorMapInterleave: CU_TENSOR_MAP_INTERLEAVE_NONE }
        values! { CUtensorMapL2promotion: CU_TENSOR_MAP_L2_PROMOTION_L2_256B }
        values! { CUtensorMapFloatOOBfill: CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE }

        impl CUresult {
            pub(crate) const fn result(self) -> Result<(), DriverError> {
                Err(DriverError(self))
            }
        }

        #[expect(dead_code, reason = "what a graph would be made by")]
        pub(crate) struct CUgraphInstantiate_flags(pub(crate) u32);

        #[repr(C, align(64))]
        #[derive(Clone, Copy)]
        pub(crate) struct CUtensorMap {
            pub(crate) opaque: [u64; 16],
        }

        pub(crate) const unsafe fn cuDriverGetVersion(_version: *mut i32) -> CUresult {
            ABSENT.0
        }

        pub(crate) const unsafe fn cuStreamQuery(_stream: CUstream) -> CUresult {
            ABSENT.0
        }

        pub(crate) const unsafe fn cuMemsetD32Async(
            _address: u64,
            _word: u32,
            _words: usize,
            _stream: CUstream,
        ) -> CUresult {
            ABSENT.0
        }

        pub(crate) const unsafe fn cuPointerGetAttribute(
            _data: *mut c_void,
            _attribute: CUpointer_attribute,
            _address: u64,
        ) -> CUresult {
            ABSENT.0
        }

        pub(crate) const unsafe fn cuMemHostGetDevicePointer_v2(
            _address: *mut u64,
            _host: *mut c_void,
            _flags: u32,
        ) -> CUresult {
            ABSENT.0
        }

        pub(crate) const unsafe fn cuGetProcAddress_v2(
            _name: *const c_char,
            _address: *mut *mut c_void,
            _version: i32,
            _flags: u64,
            _status: *mut c_void,
        ) -> CUresult {
            ABSENT.0
        }

        #[expect(clippy::too_many_arguments, reason = "the driver's own parameters")]
        pub(crate) const unsafe fn cuTensorMapEncodeTiled(
            _map: *mut CUtensorMap,
            _element: CUtensorMapDataType,
            _rank: u32,
            _address: *mut c_void,
            _extents: *const u64,
            _strides: *const u64,
            _box: *const u32,
            _steps: *const u32,
            _interleave: CUtensorMapInterleave,
            _swizzle: CUtensorMapSwizzle,
            _promotion: CUtensorMapL2promotion,
            _fill: CUtensorMapFloatOOBfill,
        ) -> CUresult {
            ABSENT.0
        }
    }

    /// Calls as cudarc wraps them.
    pub(crate) mod result {
        use std::ffi::{CString, c_void};

        use super::{ABSENT, Result, sys};

        macro_rules! calls {
            ($($name:ident$(<$element:ident>)?($($argument:ty),*) -> $answer:ty;)+) => {
                $(pub(crate) const unsafe fn $name$(<$element>)?($(_: $argument),*) -> Result<$answer> {
                    Err(ABSENT)
                })+
            };
        }

        pub(crate) const fn init() -> Result {
            Err(ABSENT)
        }

        calls! {
            malloc_async(sys::CUstream, usize) -> u64;
            free_async(u64, sys::CUstream) -> ();
            malloc_host(usize, u32) -> *mut c_void;
            free_host(*mut c_void) -> ();
            memcpy_htod_async<T>(u64, &[T], sys::CUstream) -> ();
            memcpy_dtoh_async<T>(&mut [T], u64, sys::CUstream) -> ();
            memcpy_dtoh_sync<T>(&mut [T], u64) -> ();
            memcpy_dtod_async(u64, u64, usize, sys::CUstream) -> ();
            memset_d8_async(u64, u8, usize, sys::CUstream) -> ();
            launch_kernel(
                sys::CUfunction, (u32, u32, u32), (u32, u32, u32), u32, sys::CUstream, &mut [*mut c_void]
            ) -> ();
        }

        pub(crate) mod device {
            use super::{ABSENT, Result, sys};

            pub(crate) const fn get(_ordinal: i32) -> Result<sys::CUdevice> {
                Err(ABSENT)
            }

            pub(crate) const fn get_count() -> Result<i32> {
                Err(ABSENT)
            }

            pub(crate) const fn get_name(_device: sys::CUdevice) -> Result<String> {
                Err(ABSENT)
            }

            calls! {
                get_attribute(sys::CUdevice, sys::CUdevice_attribute) -> i32;
                get_default_mem_pool(sys::CUdevice) -> sys::CUmemoryPool;
            }
        }

        pub(crate) mod mem_pool {
            use super::{ABSENT, Result, c_void, sys};

            calls! {
                get_attribute(sys::CUmemoryPool, sys::CUmemPool_attribute, *mut c_void) -> ();
                set_attribute(sys::CUmemoryPool, sys::CUmemPool_attribute, *mut c_void) -> ();
            }
        }

        pub(crate) mod event {
            use super::{ABSENT, Result, sys};

            pub(crate) const fn create(_flags: sys::CUevent_flags) -> Result<sys::CUevent> {
                Err(ABSENT)
            }

            calls! {
                record(sys::CUevent, sys::CUstream) -> ();
                query(sys::CUevent) -> ();
                synchronize(sys::CUevent) -> ();
                elapsed(sys::CUevent, sys::CUevent) -> f32;
                destroy(sys::CUevent) -> ();
            }
        }

        pub(crate) mod module {
            use super::{ABSENT, CString, Result, c_void, sys};

            pub(crate) unsafe fn get_function(
                _module: sys::CUmodule,
                _name: CString,
            ) -> Result<sys::CUfunction> {
                Err(ABSENT)
            }

            pub(crate) unsafe fn get_global(
                _module: sys::CUmodule,
                _name: CString,
            ) -> Result<(u64, usize)> {
                Err(ABSENT)
            }

            calls! {
                load_data(*const c_void) -> sys::CUmodule;
                unload(sys::CUmodule) -> ();
            }
        }

        pub(crate) mod function {
            use super::{ABSENT, Result, sys};

            calls! {
                set_function_attribute(sys::CUfunction, sys::CUfunction_attribute, i32) -> ();
            }
        }
    }
}

/// cuBLAS.
pub(crate) mod cublas {
    /// Types of its header.
    #[expect(non_camel_case_types, reason = "the library's own names")]
    pub(crate) mod sys {
        use std::ffi::c_void;

        use super::result::CublasError;

        pub(crate) type cublasHandle_t = *mut c_void;
        pub(crate) type cudaStream_t = *mut c_void;
        pub(crate) type cudaDataType = cudaDataType_t;

        macro_rules! values {
            ($type:ident: $($value:ident),+ $(,)?) => {
                #[derive(Clone, Copy, Debug, PartialEq, Eq)]
                pub enum $type {
                    $(#[doc = "As the library's header has it."] $value),+
                }
            };
        }

        values! { cublasStatus_t: CUBLAS_STATUS_NOT_INITIALIZED, CUBLAS_STATUS_ALLOC_FAILED, CUBLAS_STATUS_EXECUTION_FAILED }
        values! { cublasMath_t: CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION }
        values! { cublasOperation_t: CUBLAS_OP_N, CUBLAS_OP_T }
        values! { cudaDataType_t: CUDA_R_16BF, CUDA_R_16F, CUDA_R_32F }
        values! { cublasComputeType_t: CUBLAS_COMPUTE_32F }
        values! { cublasGemmAlgo_t: CUBLAS_GEMM_DEFAULT }

        impl cublasStatus_t {
            pub(crate) const fn result(self) -> Result<(), CublasError> {
                Err(CublasError(self))
            }
        }

        #[expect(non_snake_case, reason = "the library's own name")]
        pub(crate) const unsafe fn cublasSetMathMode(
            _handle: cublasHandle_t,
            _mode: cublasMath_t,
        ) -> cublasStatus_t {
            cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED
        }
    }

    /// Calls as cudarc wraps them.
    pub(crate) mod result {
        use std::ffi::{c_int, c_void};
        use std::fmt;

        use super::sys;

        /// What a call failed with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct CublasError(pub sys::cublasStatus_t);

        impl fmt::Display for CublasError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl std::error::Error for CublasError {}

        const ABSENT: CublasError = CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED);

        pub(crate) const fn create_handle() -> Result<sys::cublasHandle_t, CublasError> {
            Err(ABSENT)
        }

        pub(crate) const unsafe fn set_stream(
            _: sys::cublasHandle_t,
            _: sys::cudaStream_t,
        ) -> Result<(), CublasError> {
            Err(ABSENT)
        }

        #[expect(clippy::too_many_arguments, reason = "the library's own parameters")]
        pub(crate) const unsafe fn gemm_ex(
            _handle: sys::cublasHandle_t,
            _transposed_a: sys::cublasOperation_t,
            _transposed_b: sys::cublasOperation_t,
            _m: c_int,
            _n: c_int,
            _k: c_int,
            _alpha: *const c_void,
            _a: *const c_void,
            _a_type: sys::cudaDataType,
            _lda: c_int,
            _b: *const c_void,
            _b_type: sys::cudaDataType,
            _ldb: c_int,
            _beta: *const c_void,
            _c: *mut c_void,
            _c_type: sys::cudaDataType,
            _ldc: c_int,
            _compute_type: sys::cublasComputeType_t,
            _algorithm: sys::cublasGemmAlgo_t,
        ) -> Result<(), CublasError> {
            Err(ABSENT)
        }
    }
}
