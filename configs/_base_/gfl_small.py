# The small detector with the plugin's head, as `gfl-plugin init --from-scratch --model r18` uses it. A config adds
# num_classes.
_base_ = "small_gfl.py"
model = dict(type="GFL")
