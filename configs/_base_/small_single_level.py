# The small detector with a single level of stride 8, for objects as large as the image: the coarsest features of the
# backbone see whole objects, and are upsampled from stride 32 to stride 8.
_base_ = "small_detector.py"
model = dict(
    neck=dict(
        _delete_=True,
        type="mmdet.CTResNetNeck",
        in_channels=128,
        num_deconv_filters=(64, 64),
        num_deconv_kernels=(4, 4),
        use_dcn=False,
    ),
    bbox_head=dict(anchor_generator=dict(strides=[8])),
)
