_base_ = ["../_base_/small_gfl.py", "../_base_/demo_data.py", "../_base_/small_schedule.py"]
model = dict(bbox_head=dict(num_classes=10))
