"""Package metadata. The base installation has no dependencies, so it keeps the installed PyTorch and MMDetection."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "gfl_plugin" / "__init__.py").read_text()).group(1)

# The tested versions. MMDetection does not restrict the versions of NumPy and OpenCV, so they are listed here.
TORCH = "torch==2.13.0"
LIBRARIES = [
    "pycocotools>=2.0.8",  # first version for NumPy 2
    "numpy>=1.24",  # tested versions: docs/environments.md
    "opencv-python>=4.10",
    "numba>=0.59",  # compiled CPU kernels of QFL, NMS and ATSS
]
RUNTIME = [TORCH, "mmengine==0.10.7", "mmcv-lite==2.1.0", "mmdet==3.3.0", *LIBRARIES]
# The maintained forks, which provide the same modules: install either them or the packages above.
ONEDL = [TORCH, "onedl-mmengine==0.10.12", "onedl-mmcv==2.3.6", "onedl-mmdetection==3.5.1", *LIBRARIES]
# For studies: digits and photographs, progress bars, a picture, a paired t-test, a plot.
ABLATION = [
    *("scikit-learn>=1.3", "pillow>=10.1", "rich>=13", "supervision>=0.27"),
    *("scipy>=1.9", "matplotlib>=3.6"),
]
# For margins of boxes: conformal prediction, progress and tables. crepes 0.9 imports scikit-learn without requiring it.
CALIBRATE = ["crepes>=0.9", "scikit-learn>=1.3", "scipy>=1.9", "rich>=13"]
# For the page about a model: templates, charts, pictures, conformal prediction, progress.
REPORT = ["jinja2>=3.1", "altair>=5.5", "vl-convert-python>=1.7", "pillow>=10.1", "matplotlib>=3.6", *CALIBRATE]
# The demo is a study of two models that ends with their report.
DEMO = [*ABLATION, *REPORT]
# For configs of one's own data: reads annotations, sizes of images, progress and tables.
INIT = ["globox>=2.9", "pillow>=10.1", "rich>=13"]
# For MMDetection's tools: curves of logs, error analysis, anchors.
TOOLS = ["seaborn>=0.12", "matplotlib>=3.6", "scipy>=1.9"]
# For ONNX files: PyTorch's exporter needs onnxscript.
EXPORT = ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.20", "pillow>=10.1", "rich>=13"]
# For safetensors files.
PUBLISH = ["safetensors>=0.4"]
# For the documentation site. Zensical's version is fixed, because releases below 1.0 may change the config's format.
DOCS = [
    'zensical==0.0.73; python_version >= "3.11"',
    'mkdocstrings-python>=2.0.11; python_version >= "3.11"',
    "latex2mathml>=3.77",
]
DEV = [
    *("pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "psutil>=5.9", "ruff>=0.6", "import-linter>=2.13"),
    *(*ABLATION, *CALIBRATE, *REPORT, *INIT, *TOOLS, *EXPORT, *PUBLISH, *DOCS),
    *("playwright>=1.40", "axe-playwright-python>=0.1.4"),  # the report's page in Chromium, if that is installed
]


class BuildWithConfigs(build_py):
    """Copies configs/ and model-index.yml to .mim/, where MMEngine and mim look; editable installs use the checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib, "gfl_plugin", ".mim")
            shutil.rmtree(folder, ignore_errors=True)  # the build folder may contain configs that were deleted
            shutil.copytree(HERE / "configs", folder / "configs", ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(HERE / "model-index.yml", folder)


setup(
    name="gfl_plugin",
    version=VERSION,
    description="Generalized Focal Loss heads as a plugin for MMDetection",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    cmdclass={"build_py": BuildWithConfigs},
    py_modules=["gfl_plugin_cli"],
    entry_points={"console_scripts": ["gfl-plugin = gfl_plugin_cli:main"]},
    packages=find_packages(include=["gfl_plugin", "gfl_plugin.*"]),
    package_data={
        "gfl_plugin.analysis.report.page": ["templates/*.j2", "static/*.js", "static/*.css"],
        "gfl_plugin.export.layouts": ["shipped/*.json"],
    },
    python_requires=">=3.10",  # as torch 2.13.0
    install_requires=[],
    extras_require={
        "runtime": RUNTIME,
        "onedl": ONEDL,
        "demo": DEMO,
        "init": INIT,
        "ablation": ABLATION,
        "calibrate": CALIBRATE,
        "report": REPORT,
        "export": EXPORT,
        "publish": PUBLISH,
        "docs": DOCS,
        "tools": TOOLS,
        "dev": DEV,
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
