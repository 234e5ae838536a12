"""Take the README's pictures of a real page with headless Chromium: python docs/screenshots.py PAGE.html [FOLDER]."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

PICTURES = {
    "report_light.png": ("light", 1400, 1000, ""),
    "report_dark.png": ("dark", 1400, 1000, "#figure=agreement"),
    "report_narrow.png": ("light", 420, 900, ""),
}


def main(page: str, folder: str = "docs/images") -> None:
    """Save every picture of `PICTURES`, with 256 colours to keep the repository small."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    service = webdriver.ChromeService(shutil.which("chromedriver"))  # or selenium looks for one on the internet
    driver = webdriver.Chrome(options=options, service=service)
    try:
        for name, (scheme, width, height, fragment) in PICTURES.items():
            feature = {"name": "prefers-color-scheme", "value": scheme}
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.get("about:blank")
            driver.get(Path(page).resolve().as_uri() + fragment)
            WebDriverWait(driver, 60).until(lambda d: d.execute_script("return document.documentElement.dataset.ready"))
            picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
            picture.quantize(256, dither=Image.Dither.NONE).save(Path(folder) / name, optimize=True)
    finally:
        driver.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
