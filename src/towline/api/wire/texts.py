"""Error codes of the outside API with their HTTP status and their text in both languages.

`%s` takes the parameter's name or a short detail. Only `error_msg` is ever translated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Language(Enum):
    EN = "en-us"
    ZH = "zh-cn"


def parse_language(header: str | None) -> Language:
    """The language of an `X-Language` header; anything unknown is English, never an error."""
    word = (header or "").strip().lower().replace("_", "-")
    return Language.ZH if word == Language.ZH.value else Language.EN


@dataclass(frozen=True, slots=True)
class ErrorText:
    """One documented error."""

    http_status: int
    en: str
    zh: str


TEXTS: Final[dict[str, ErrorText]] = {
    "DRS.M00002": ErrorText(422, "The returned result is empty.", "返回结果为空。"),
    "DRS.M00004": ErrorText(500, "Service is abnormal. Check logs.", "服务异常，请检查日志。"),
    "DRS.M00007": ErrorText(400, "Invalid request parameter.", "请求参数不合法。"),
    "DRS.M00200": ErrorText(400, "Parameter error.", "参数错误。"),
    "DRS.M00201": ErrorText(400, "The parameter %s is empty.", "%s参数为空。"),
    "DRS.M00202": ErrorText(400, "The value of parameter %s is invalid.", "%s取值不合法。"),
    "DRS.M00210": ErrorText(400, "The value of Page is invalid, %s", "分页参数不合法，%s"),
    "DRS.M00211": ErrorText(400, "Page exceeds the upper limit", "分页超过上限"),
    "DRS.M00261": ErrorText(403, "Invalid project ID.", "项目ID不合法。"),
    "DRS.M00269": ErrorText(400, "The tag key must be unique.", "标签的键不能重复。"),
    "DRS.M00270": ErrorText(400, "The tag key or value is too long.", "标签的键或值过长。"),
    "DRS.M00271": ErrorText(400, "Too many tags.", "标签数量超过上限。"),
    "DRS.M00277": ErrorText(422, "The task name already exists.", "任务名称已存在。"),
    "DRS.M00289": ErrorText(400, "The task does not exist.", "任务不存在。"),
    "DRS.M00300": ErrorText(400, "Invalid request, %s", "请求不合法，%s"),
    "DRS.M00301": ErrorText(400, "There are duplicate %s in request.", "请求中存在重复的%s。"),
    "DRS.M00302": ErrorText(400, "transfer schema invalid", "传输模式不合法"),
    "DRS.M00303": ErrorText(400, "The parameter is not in the cache.", "参数不在缓存中。"),
    "DRS.M00304": ErrorText(
        400, "This API cannot be called in the current task status.", "当前任务状态不允许调用该接口。"
    ),
    "DRS.M00305": ErrorText(400, "Parameter error:%s", "参数错误：%s"),
    "DRS.M00306": ErrorText(400, "Start time cannot be the same as end time.", "开始时间不能与结束时间相同。"),
    "DRS.M00403": ErrorText(400, "Flow control is not supported for this task.", "该任务不支持流控。"),
    "DRS.M01501": ErrorText(422, "Service error. %s", "服务错误。%s"),
    "DRS.M01503": ErrorText(400, "Operation too frequent. Try again later.", "操作过于频繁，请稍后重试。"),
    "DRS.M01504": ErrorText(
        202,
        "Another operation is being performed on the migration task or the migration task is abnormal. "
        "Try again later.",
        "任务正在执行其他操作或任务异常，请稍后重试。",
    ),
    "DRS.M05003": ErrorText(400, "Task information not found.", "未找到任务信息。"),
    "DRS.M05004": ErrorText(
        400, "The task has been deleted or the resource has been released.", "任务已删除或资源已释放。"
    ),
    "DRS.10000010": ErrorText(404, "The task does not exist.", "任务不存在。"),
    "DRS.M00401": ErrorText(400, "%s does not support re-editing.", "%s不支持再编辑。"),
    "DRS.M07000": ErrorText(400, "The data transformation already exists.", "数据加工规则已存在。"),
    "DRS.KE0002": ErrorText(400, "The username or password is incorrect.", "用户名或密码错误。"),
    "APIGW.0101": ErrorText(
        404,
        "The API does not exist or has not been published in the environment",
        "API不存在或未发布到环境",
    ),
    "APIGW.0201": ErrorText(413, "Request entity too large", "请求体过大"),
    "APIGW.0302": ErrorText(
        403,
        "The IAM user is not allowed to access the API: %s",
        "IAM用户无权访问该API：%s",
    ),
    "APIGW.0308": ErrorText(429, "The throttling threshold has been reached: %s", "已达到流控阈值：%s"),
    "APIGW.0301": ErrorText(401, "Incorrect IAM authentication information: %s", "IAM认证信息错误：%s"),
}


def render_text(code: str, detail: str, language: Language) -> str:
    """The text of `code` with its gap filled; a detail where the text has no gap is left out."""
    text = TEXTS[code]
    pattern = text.zh if language is Language.ZH else text.en
    return pattern.replace("%s", detail).strip() if "%s" in pattern else pattern
