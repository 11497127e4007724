_base_ = ["../_base_/small_atss.py", "../_base_/bccd_data.py", "../_base_/small_schedule_32e.py"]
model = dict(bbox_head=dict(num_classes=3))
